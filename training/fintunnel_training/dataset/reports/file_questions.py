"""Questions about the user's own reports. Only figures that a passage states by name, with its unit, are asked for;
nothing is guessed about the rest of the text.

The passages of an example are excerpts, whole sentences around what is asked, so that a prompt stays short enough
for no figure to be cut away in training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from fintunnel.wire import Passage, ReportRequest

from fintunnel_training.dataset.grounding import figures_not_in
from fintunnel_training.dataset.reports.files import ReportLibrary
from fintunnel_training.dataset.reports.passages import ReportExample

__all__ = ["Figure", "find_figures", "make_file_report"]

# The longer name first, as 净利润 is part of 归属于…净利润.
_NAMES = {
    "归母净利润": r"归属于(?:上市公司|母公司)(?:股东|所有者)的净利润|归母净利润",
    "经营活动现金流量净额": r"经营活动(?:产生的)?现金流(?:量)?净额",
    "资产负债率": "资产负债率",
    "营业收入": "营业总?收入|营收",
    "净利润": "净利润",
    "毛利率": "毛利率",
    "净利率": "销售净利率|净利率",
    "总资产": "总资产|资产总额|资产总计|资产合计",
    "总负债": "总负债|负债总额|负债总计|负债合计",
}
_PERCENT = ("毛利率", "净利率", "资产负债率")
# What may stand before a name without narrowing it: 「子公司营业收入」「上年营业收入」 are other figures.
_BEFORE = (
    r"(?:^|(?<=[。，；：、！？）\s])|(?<=实现)|(?<=[^子]公司)|(?<=集团)|(?<=[^上去前]年)|(?<=[^上去前]年[度末])"
    r"|(?<=综合)|(?<=报告期[内末])|(?<=[。，；\s本]期末)|(?<=[全半]年度))"
)
# The same, said earlier in the sentence; a comparison (较上年…) narrows nothing.
_NARROWED = re.compile("上年|去年|前年|上期|同期|预计|预测|预期|有望|目标|计划|假设|子公司|其中|承诺|分部|业务|板块")
_COMPARED = re.compile("(?:较|比)(?:上年|去年|上期|同期)(?:同期|末)?")
_NUMBER = r"(?P<number>[-－]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
_UNIT = r"(?P<unit>亿元|万元|元|[%％])(?!\s*[/／至到~～—-])"
_CHANGE = (
    r"(?:[，,]\s*(?:较上年)?同比(?P<word>增长|上升|增加|下降|减少)(?P<rate>\d+(?:\.\d+)?)[%％](?![，,]?\s*(?:至|到)))?"
)
_PATTERNS = {
    name: re.compile(
        rf"{_BEFORE}(?P<written>{names})(?:人民币|分别)?(?:为|是|达到?|：|:)?\s*{_NUMBER}\s*{_UNIT}{_CHANGE}"
    )
    for name, names in _NAMES.items()
}
# What a report may leave unsaid, and the words by which it would say it.
_ABSENT = {
    "研发费用": ("研发",),
    "员工人数": ("员工", "职工", "人员"),
    "每股分红": ("分红", "派息", "股利", "派发"),
    "存货周转天数": ("存货", "周转"),
    "海外收入占比": ("海外", "境外", "国外", "出口"),
    "毛利率": ("毛利",),
    "资产负债率": ("负债",),
    "商誉": ("商誉",),
    "应收账款": ("应收",),
    "资本开支": ("资本开支", "资本性支出", "购建固定资产"),
    "经营活动现金流量净额": ("现金流",),
    "每股收益": ("每股",),
}
_RATIOS = (("资产负债率", "总负债", "总资产"), ("净利率", "净利润", "营业收入"))
_MAX_EXCERPT = 160  # characters of a passage that holds the answer
_MAX_OTHER = 90  # … of one that does not
_TRIES = 24  # passages looked at for a figure, and for distractors


class Figure(NamedTuple):
    """`written`: number and unit as the text has them; `change`: 「增长5.1%」 where it follows at once."""

    name: str
    number: Decimal
    unit: str
    written: str
    change: str | None
    start: int
    end: int


def find_figures(text: str) -> list[Figure]:
    """The figures that `text` states by a known name; left out are names that occur more than once,
    since a question by such a name would have two answers, and figures of other years, of parts or of plans."""
    found = []
    for name, pattern in _PATTERNS.items():
        matches = list(pattern.finditer(text))
        if len(matches) != 1 or _mentions(text, name) != 1:
            continue
        match, unit = matches[0], matches[0]["unit"].replace("％", "%")
        sentence = text[: match.start()].rpartition("。")[2]
        if (unit == "%") != (name in _PERCENT) or _NARROWED.search(_COMPARED.sub("", sentence)):
            continue
        plain = match["number"].replace("－", "-")
        change = f"{match['word']}{match['rate']}%" if match["word"] else None
        number = Decimal(plain.replace(",", ""))
        found.append(Figure(name, number, unit, plain + unit, change, match.start("written"), match.end()))
    return sorted(found, key=lambda figure: figure.start)


def make_file_report(rng: random.Random, library: ReportLibrary) -> ReportExample | None:
    """A question over 2–3 passages of `library` (1 where it has no more): a figure looked up, a ratio of two figures
    of the same passage, or something that none of the passages mentions. None where nothing can be asked."""
    order = rng.sample(library.passages, min(_TRIES, len(library.passages)))
    if rng.random() < 0.75:
        for passage in order:
            if example := _stated(rng, library, passage):
                return example
    return _not_stated(rng, order)


def _stated(rng: random.Random, library: ReportLibrary, passage: Passage) -> ReportExample | None:
    figures = {figure.name: figure for figure in find_figures(passage.text)}
    asks = [
        (ratio, figures[part], figures[whole])
        for ratio, part, whole in _RATIOS
        if part in figures and whole in figures and _same_base(figures[part], figures[whole])
    ]
    if asks and rng.random() < 0.5:
        ratio, part, whole = rng.choice(asks)
        used: tuple[Figure, ...] = (part, whole)
        kind, question, answer = _ratio(rng, ratio, part, whole)
        asked = {ratio, part.name, whole.name}
    elif figures:
        figure = rng.choice(list(figures.values()))
        used, asked = (figure,), {figure.name}
        kind, question, answer = _look_up(rng, figure)
    else:
        return None
    text = _excerpt(passage.text, min(figure.start for figure in used), max(figure.end for figure in used))
    # The sentences around a figure have to name it as the whole passage does, and must not give the ratio away.
    again = {figure.name: figure.written for figure in find_figures(text)}
    if any(again.get(figure.name) != figure.written for figure in used):
        return None
    if len(text) > _MAX_EXCERPT or (kind == "file_ratio" and _mentions(text, ratio)):
        return None
    passages = [passage.model_copy(update={"text": text}), *_others(rng, library, passage, asked)]
    rng.shuffle(passages)
    cited = next(index for index, item in enumerate(passages) if item.text == text)
    if rng.random() < 0.7:
        question = f"《{passage.source}》里，{question}"
    given = "\n".join([question, *(item.text for item in passages)])
    if figures_not_in(answer, given):
        return None
    return ReportExample(kind, ReportRequest(question=question, passages=passages), [cited], answer)


def _look_up(rng: random.Random, figure: Figure) -> tuple[str, str, str]:
    name, written = figure.name, figure.written
    if figure.change and rng.random() < 0.4:
        questions: Sequence[str] = (
            f"{name}同比变动多少？",
            f"{name}的同比增幅是多少？",
            f"与上年同期相比，{name}变化了多少？",
        )
        answers = (
            f"{name}同比{figure.change}，为{written}。",
            f"同比{figure.change}，{name}为{written}。",
            f"资料显示，{name}{written}，同比{figure.change}。",
        )
        return "file_change", rng.choice(questions), rng.choice(answers)
    questions = (f"{name}是多少？", f"披露的{name}是多少？", f"报告里的{name}有多少？", f"请查出{name}的数值。")
    answers = (f"{name}为{written}。", f"资料显示，{name}为{written}。", f"报告披露的{name}是{written}。")
    return "file_look_up", rng.choice(questions), rng.choice(answers)


def _ratio(rng: random.Random, ratio: str, part: Figure, whole: Figure) -> tuple[str, str, str]:
    share = (part.number * 100 / whole.number).quantize(Decimal("0.01"), ROUND_HALF_UP)
    result = f"{share if share else abs(share)}%"
    questions = (f"{ratio}是多少？", f"请计算{ratio}。", f"根据{part.name}和{whole.name}，{ratio}是多少？")
    answers = (
        f"{part.name}为{part.written}，{whole.name}为{whole.written}，{ratio}为{result}。",
        f"{ratio}为{result}，即{part.name}{part.written}除以{whole.name}{whole.written}。",
        f"按{whole.name}{whole.written}和{part.name}{part.written}计算，{ratio}为{result}。",
    )
    return "file_ratio", rng.choice(questions), rng.choice(answers)


def _same_base(part: Figure, whole: Figure) -> bool:
    return part.unit == whole.unit and whole.number > 0 and abs(part.number) < 100 * whole.number


def _not_stated(rng: random.Random, order: Sequence[Passage]) -> ReportExample | None:
    passages = [_shortened(passage) for passage in order[: rng.choice((2, 3))]]
    text = "".join(passage.text + passage.source for passage in passages)
    absent = [asked for asked, words in _ABSENT.items() if not any(word in text for word in words)]
    if not passages or not absent:
        return None
    asked = rng.choice(absent)
    questions = (f"{asked}是多少？", f"这些资料里{asked}是多少？", f"报告披露的{asked}有多少？", f"请查出{asked}。")
    answers = (
        f"资料未提及{asked}，无法回答。",
        f"所给资料未提及{asked}。",
        f"关于{asked}，资料未提及。",
        f"无法回答：资料未提及{asked}。",
    )
    request = ReportRequest(question=rng.choice(questions), passages=passages)
    return ReportExample("file_not_stated", request, [], rng.choice(answers))


def _others(rng: random.Random, library: ReportLibrary, passage: Passage, named: set[str]) -> list[Passage]:
    """One or two other passages, shortened, that name nothing of what is asked."""
    wanted, others = rng.choice((1, 2)), list[Passage]()
    for other in rng.sample(library.passages, min(_TRIES, len(library.passages))):
        shortened = _shortened(other)
        if len(others) < wanted and other != passage and not any(_mentions(shortened.text, name) for name in named):
            others.append(shortened)
    return others


def _mentions(text: str, name: str) -> int:
    """How often `text` names the item at all, longer names that hold it left out."""
    if name == "净利润":
        text = re.sub(_NAMES["归母净利润"], "", text)
    return len(re.findall(_NAMES[name], text))


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[。！？；])", text) if sentence]


def _excerpt(text: str, start: int, end: int) -> str:
    """The whole sentences that hold text[start:end]."""
    chosen, place = "", 0
    for sentence in _sentences(text):
        if place < end and place + len(sentence) > start:
            chosen += sentence
        place += len(sentence)
    return chosen.strip()


def _shortened(passage: Passage) -> Passage:
    text = ""
    for sentence in _sentences(passage.text):
        if text and len(text) + len(sentence) > _MAX_OTHER:
            break
        text += sentence
    return passage.model_copy(update={"text": text.strip() if len(text) <= _MAX_EXCERPT else text[:_MAX_OTHER] + "…"})
