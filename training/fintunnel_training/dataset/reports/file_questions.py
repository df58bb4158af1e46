"""Questions about the user's own reports. Only figures that a passage states by name, with its unit, are asked for;
nothing is guessed about the rest of the text.

The passages of an example are excerpts, whole sentences around what is asked, so that a prompt stays short enough
for no figure to be cut away in training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from itertools import permutations

from fintunnel.wire import Passage, ReportRequest

from fintunnel_training.dataset.grounding import figures_not_in
from fintunnel_training.dataset.reports.file_distractors import other_passages, shorten_passage
from fintunnel_training.dataset.reports.file_figures import (
    AT_A_DATE,
    Ask,
    Figure,
    FigureKey,
    find_figures,
    mentioned,
    title_period,
)
from fintunnel_training.dataset.reports.files import ReportLibrary
from fintunnel_training.dataset.reports.passages import ReportExample

__all__ = ["find_asks", "make_file_reports"]

# ratio: part, whole. A gross margin is what the part leaves of the whole.
_RATIOS = {
    "资产负债率": ("总负债", "总资产"),
    "净利率": ("净利润", "营业收入"),
    "毛利率": ("营业成本", "营业收入"),
    "销售费用率": ("销售费用", "营业收入"),
    "管理费用率": ("管理费用", "营业收入"),
    "研发费用率": ("研发费用", "营业收入"),
    "净现比": ("经营活动现金流量净额", "净利润"),
    "流动比率": ("流动资产", "流动负债"),
}
_MULTIPLES = ("净现比", "流动比率")
# What a report may leave unsaid: the words by which it would say it, and groups of words which together allow to
# compute it.
_ABSENT: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "研发费用": (("研发",), ()),
    "员工人数": (("员工", "职工", "人员"), ()),
    "每股分红": (("分红", "派息", "股利", "派发", "红利", "股息"), ()),
    "存货周转天数": (("存货", "周转"), ()),
    "海外收入占比": (("海外", "境外", "国外", "出口"), ()),
    "毛利率": (("毛利",), (("营业收入", "营业总收入", "营收"), ("营业成本",))),
    "净利率": (("净利率",), (("营业收入", "营业总收入", "营收"), ("净利润",))),
    "资产负债率": (("负债",), ()),
    "净资产收益率": (("净资产收益率", "ROE"), (("净利润",), ("净资产", "所有者权益", "股东权益"))),
    "商誉": (("商誉",), ()),
    "应收账款": (("应收",), ()),
    "资本开支": (("资本开支", "资本性支出", "购建固定资产"), ()),
    "经营活动现金流量净额": (("现金流",), ()),
    "每股收益": (("每股", "EPS"), (("净利润",), ("股本", "总股数"))),
}
_MAX_EXCERPT = 160  # characters of a passage that holds the answer


# --- what to ask --------------------------------------------------------------------------------------


@lru_cache(maxsize=50_000)
def find_asks(text: str, title: str = "") -> tuple[Ask, ...]:
    """All that can be asked of a passage: each figure, its change in percent, and what two of its figures give."""
    figures = find_figures(text, title)
    asks = [Ask("file_look_up", figure.name, figure.period, (figure,), 0, 0) for figure in figures]
    asks += [Ask("file_change", figure.name, figure.period, (figure,), 0, 0) for figure in figures if figure.change]
    for first, second in permutations(figures, 2):
        if first.unit != second.unit or second.number <= 0 or abs(first.number) >= 100 * second.number:
            continue
        if first.period == second.period:
            ratios = [ratio for ratio, inputs in _RATIOS.items() if inputs == (first.name, second.name)]
            asks += [Ask("file_ratio", ratio, first.period, (first, second), 0, 0) for ratio in ratios]
        elif first.name == second.name and _is_year_after(first.period, second.period):
            # A change that the text gives itself is looked up.
            if first.unit != "%" and first.change is None and first.number != second.number:
                asks.append(Ask("file_growth", first.name, first.period, (first, second), 0, 0))
    return tuple(found for ask in asks if (found := _with_excerpt(ask, text, title)))


def _is_year_after(period: str, earlier: str) -> bool:
    years = [re.fullmatch(r"(\d{4})年", which) for which in (period, earlier)]
    return bool(years[0] and years[1] and int(years[0][1]) == int(years[1][1]) + 1)


def _with_excerpt(ask: Ask, text: str, title: str) -> Ask | None:
    """`ask` with the sentences around its figures, or None where they are too long or do not say the same alone."""
    begin, stop = min(figure.start for figure in ask.used), max(figure.end for figure in ask.used)
    start = max((match.end() for match in re.finditer("[。！？；]", text[:begin])), default=0)
    end = next((match.end() for match in re.finditer("[。！？；]", text[stop:])), len(text) - stop) + stop
    if end - start > _MAX_EXCERPT:  # run-on text: from one mark or figure to another
        starts = [match.end() for match in re.finditer(r"[，,：:](?!\d)|(?<=[元%％])\s*(?=\D)", text[start:begin])]
        start += starts[-1] if starts else 0
        end = stop
    if end - start > _MAX_EXCERPT:
        return None
    start += len(text[start:end]) - len(text[start:end].lstrip())
    excerpt = text[start:end].rstrip()
    again = {(figure.name, figure.period, figure.written) for figure in find_figures(excerpt, title)}
    if any((figure.name, figure.period, figure.written) not in again for figure in ask.used):
        return None
    if ask.kind == "file_ratio" and ask.item in mentioned(excerpt):  # given away
        return None
    return ask._replace(start=start, end=start + len(excerpt))


# --- examples -----------------------------------------------------------------------------------------


def make_file_reports(
    rng: random.Random,
    library: ReportLibrary,
    own: Sequence[int],
    spare: Sequence[int],
    figures: Collection[FigureKey],
    limit: int,
) -> list[ReportExample]:
    """At most `limit` examples, each about another item: figures looked up or computed in the passages `own` (indices)
    as far as they are among `figures`, and, at most one in five, items that the files do not mention. Every example
    has 2–3 passages where there are so many; the others are of `own` or, where those do not suffice, of `spare`."""
    candidates = [
        (index, ask)
        for index in own
        for ask in find_asks(library.passages[index].text, library.passages[index].source)
        if all(figure.key in figures for figure in ask.used)
    ]
    rng.shuffle(candidates)
    made: list[ReportExample] = []
    asked = set()
    for index, ask in candidates:
        if 5 * len(made) >= 4 * limit:
            break
        identity = (library.passages[index].source, ask.kind, ask.item, ask.period)
        if identity not in asked and (example := _stated(rng, library, index, ask, own, spare)):
            asked.add(identity)
            made.append(example)
    refusals = _not_stated(rng, library, own, spare)
    wanted = min(len(made) // 4, limit - len(made))
    made += [example for _, example in zip(range(wanted), refusals, strict=False)]
    rng.shuffle(made)
    return made


def _stated(
    rng: random.Random, library: ReportLibrary, index: int, ask: Ask, own: Sequence[int], spare: Sequence[int]
) -> ReportExample | None:
    passage = library.passages[index]
    several = {figure.period for figure in find_figures(passage.text, passage.source) if figure.name == ask.item}
    told = len(several) < 2 and ask.period == title_period(passage.source)
    period = "" if told else _named_period(ask.used[0])
    question, answer = _WORDED[ask.kind](rng, ask, _title(passage), period)
    cited = passage.model_copy(update={"text": passage.text[ask.start : ask.end]})
    passages = [cited, *other_passages(rng, library, index, ask, own, spare)]
    rng.shuffle(passages)
    if figures_not_in(answer, "\n".join([question, *(item.text for item in passages)])):
        return None
    place = next(place for place, item in enumerate(passages) if item is cited)
    return ReportExample(ask.kind, ReportRequest(question=question, passages=passages), [place], answer)


def _title(passage: Passage) -> str:
    return "《" + re.sub('[《》"]', "", passage.source) + "》"


def _named_period(figure: Figure) -> str:
    return figure.period + ("末" if figure.name in AT_A_DATE and re.fullmatch(r"\d{4}年", figure.period) else "")


def _asking(rng: random.Random, title: str, item: str) -> str:
    return rng.choice(
        (
            f"{title}里的{item}是多少？",
            f"根据{title}，{item}是多少？",
            f"{title}披露的{item}是多少？",
            f"在{title}中，{item}为多少？",
        )
    )


def _look_up(rng: random.Random, ask: Ask, title: str, period: str) -> tuple[str, str]:
    name, written = ask.item, ask.used[0].written
    answers = (f"{name}为{written}。", f"资料显示，{period}{name}为{written}。", f"报告披露的{name}是{written}。")
    return _asking(rng, title, period + name), rng.choice(answers)


def _change(rng: random.Random, ask: Ask, title: str, period: str) -> tuple[str, str]:
    name, written, change = ask.item, ask.used[0].written, ask.used[0].change
    questions = (
        f"{title}里，{period}{name}同比变动多少？",
        f"根据{title}，{period}{name}的同比变化是多少？",
        f"{title}披露的{period}{name}与上年同期相比变化了多少？",
    )
    answers = (
        f"{name}同比{change}，为{written}。",
        f"同比{change}，{name}为{written}。",
        f"资料显示，{period}{name}为{written}，同比{change}。",
    )
    return rng.choice(questions), rng.choice(answers)


def _growth(rng: random.Random, ask: Ask, title: str, period: str) -> tuple[str, str]:
    now, before = ask.used
    late, early = period, _named_period(before)
    percent = _rounded((now.number - before.number) * 100 / before.number)
    change = f"{'增长' if percent >= 0 else '下降'}{abs(percent)}%"
    questions = (
        f"根据{title}，{late}{now.name}比{early}变动了百分之几？",
        f"{title}里，{late}{now.name}较{early}的增幅是多少？",
        f"按{title}计算，{now.name}从{early}到{late}变化了多少？",
    )
    answers = (
        f"{now.name}由{early}的{before.written}变为{late}的{now.written}，{change}。",
        f"{change}：{early}{now.name}为{before.written}，{late}为{now.written}。",
        f"与{early}的{before.written}相比，{late}{now.name}为{now.written}，{change}。",
    )
    return rng.choice(questions), rng.choice(answers)


def _ratio(rng: random.Random, ask: Ask, title: str, period: str) -> tuple[str, str]:
    ratio, (part, whole) = ask.item, ask.used
    if ratio in _MULTIPLES:
        result, how = (
            f"{_rounded(part.number / whole.number)}倍",
            f"{part.name}{part.written}除以{whole.name}{whole.written}",
        )
    elif ratio == "毛利率":
        result = f"{_rounded((whole.number - part.number) * 100 / whole.number)}%"
        how = f"{whole.name}{whole.written}减去{part.name}{part.written}后占{whole.name}的比例"
    else:
        result = f"{_rounded(part.number * 100 / whole.number)}%"
        how = f"{part.name}{part.written}除以{whole.name}{whole.written}"
    questions = (_asking(rng, title, period + ratio), f"请根据{title}计算{period}{ratio}。")
    answers = (
        f"{part.name}为{part.written}，{whole.name}为{whole.written}，{ratio}为{result}。",
        f"{ratio}为{result}，即{how}。",
        f"按{whole.name}{whole.written}和{part.name}{part.written}计算，{ratio}为{result}。",
    )
    return rng.choice(questions), rng.choice(answers)


_WORDED = {"file_look_up": _look_up, "file_change": _change, "file_growth": _growth, "file_ratio": _ratio}


def _rounded(number: Decimal) -> Decimal:
    return abs(rounded) if not (rounded := number.quantize(Decimal("0.01"), ROUND_HALF_UP)) else rounded


def _not_stated(
    rng: random.Random, library: ReportLibrary, own: Sequence[int], spare: Sequence[int]
) -> Iterator[ReportExample]:
    """One for each item and report that does not mention it, as far as no other file of the example does."""
    candidates = list(
        {(library.passages[index].source, item): (index, item) for index in own for item in _ABSENT}.values()
    )
    rng.shuffle(candidates)
    # Of a report with figures somebody might really ask it.
    candidates.sort(
        key=lambda asked: not find_figures(library.passages[asked[0]].text, library.passages[asked[0]].source)
    )
    whole = {name: [passage for passage, of in zip(library.passages, library.names, strict=True) if of == name]
             for name in set(library.names)}  # fmt: skip
    says = {name: _says("".join(p.text + p.source for p in passages)) for name, passages in whole.items()}
    for index, item in candidates:
        if item in says[library.names[index]]:
            continue
        passage = library.passages[index]
        quiet = [other for other in own if other != index and item not in says[library.names[other]]]
        if not quiet:
            quiet = [other for other in spare if other != index and item not in says[library.names[other]]]
        others = rng.sample(quiet, min(rng.choice((1, 2)), len(quiet)))
        passages = [shorten_passage(rng, library.passages[which]) for which in (index, *others)]
        rng.shuffle(passages)
        answers = (
            f"资料未提及{item}，无法回答。",
            f"所给资料未提及{item}。",
            f"关于{item}，资料未提及。",
            f"无法回答：资料未提及{item}。",
        )
        request = ReportRequest(question=_asking(rng, _title(passage), item), passages=passages)
        yield ReportExample("file_not_stated", request, [], rng.choice(answers))


def _says(text: str) -> set[str]:
    """The items of `_ABSENT` that `text` mentions or allows to compute."""
    return {
        item
        for item, (words, inputs) in _ABSENT.items()
        if any(word in text for word in words)
        or (inputs and all(any(word in text for word in group) for group in inputs))
    }
