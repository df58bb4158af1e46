"""Is an answer made of its question alone? Two tests that every answer must pass, whoever wrote it.

`figures_not_in`: numbers that the source does not state and that no single step of arithmetic gives.
`hindsight`: words that tell what happened after publication, which nobody could know who was asked.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, NamedTuple

import numpy as np

__all__ = ["figures_not_in", "hindsight"]

# Not inside words (G7, A50, v2) and not the second half of a number.
_FIGURE = re.compile(
    r"(?<![A-Za-z0-9_.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![A-Za-z0-9_])"
    # What it counts; times, dates and pages are stated but not reckoned with.
    r"(?:(?=\s*个?(?P<of>%|百分点|基点|bp|倍))|(?=\s*(?P<scale>万亿|万|亿))"
    r"|(?=(?P<time>\s*(?:分钟|小时|分|时|点(?!\d)|月|日|年|天|页|期|:\d|/\d)))|)"
)
# What numbers the parts of an answer is no figure: "1. …", "（2）…", "③".
_LIST_MARK = re.compile(r"(?:^|(?<=[\n。；;：:]))\s*[（(]?\d{1,2}(?:[、)）]|\.(?!\d))|[①-⑳]", re.MULTILINE)
# A span of time that an answer speaks of ("15分钟内方向难定") is no claim about what was published.
_SPAN = re.compile(r"(?<!\d)\d{1,4}\s*(?:分钟|min\b|minutes?\b)")
_SCALES = {"万": 1e4, "亿": 1e8, "万亿": 1e12}
_OF = {"%": "%", "百分点": "%", "基点": "bp", "bp": "bp", "倍": "倍"}
# Amounts written out: they are compared with the source letter by letter.
_WRITTEN_OUT = re.compile(
    r"百分之[零一二三四五六七八九十百点两]+"
    r"|[一二两三四五六七八九]?[十百千](?:[零一二三四五六七八九十百千点]|余|多)*(?:万|亿)?(?:美元|元|点|个?百分点|个?基点|吨|盎司)"
)
# With more numbers than this in a source, some pair of them gives almost any number by chance.
_MOST_OPERANDS = 40

_MOVED = (
    r"(?:上涨|下跌|走高|走低|上行|下行|走强|走弱|拉升|跳水|回落|反弹|大涨|大跌|收涨|收跌|收高|收低|冲高|跳涨|急跌|急涨"
    r"|飙升|攀升|下挫|下滑|重挫|不涨反跌|不跌反涨|涨|跌)"
)
_MOVED_ENGLISH = r"(?:rose|fell|gained|dropped|rallied|lost)"
_SIZE = r"(?:了|至|到|约|近|超|逾|\s*[+-]?[\d.]+)"
_SUDDEN = r"(?:大幅|小幅|快速|迅速|短线|急速|一度|持续|明显|应声|直线)"
_PRICE = r"(?:金价|黄金|现货|期金|价格|行情|走势|盘面|(?i:XAU\w*|gold))"
_SPAN_WORD = r"(?:\d{1,4}|[一二两三五十半]{1,3})\s*(?:个)?(?:分钟|小时|刻钟|交易日|天|(?i:min|m\b))"
_AFTER = r"(?:发布|公布|消息|数据|事件|发生|出炉|落地)(?:之|以)?后"
_GAP = r"[^。；;！？\n]{0,16}?"
_HINDSIGHT = re.compile(
    "|".join(
        (
            rf"{_AFTER}(?:的)?\s*{_SPAN_WORD}",
            rf"{_AFTER}{_GAP}{_MOVED}{_SIZE}",
            rf"{_SPAN_WORD}(?:之)?(?:内|后){_GAP}{_MOVED}",
            rf"(?:事|此|其|之|随)?后(?:的)?\s*{_SPAN_WORD}(?:内|里)?(?:的)?[^。；，\n]{{0,8}}?(?:涨跌|收益|回报|波幅|{_MOVED})",
            rf"(?:随后|其后|之后|此后|随即|旋即){_GAP}(?:{_MOVED}{_SIZE}|{_SUDDEN}{_MOVED})",
            rf"(?:应声|短线){_MOVED}{_SIZE}|应声{_MOVED}",
            rf"{_AFTER}{_PRICE}(?:随即|旋即|立即|迅速|便|就)?{_MOVED}",
            rf"{_PRICE}[^。；，\n]{{0,4}}?(?:随后|其后|随即|旋即|闻讯|受此提振|受此拖累|当晚|当日|当天|次日)(?:走势)?{_MOVED}",
            rf"(?:消息一出|当晚|当日|当天|次日)[^。；，\n]{{0,4}}?{_PRICE}(?:便|即|就)?(?:{_MOVED}|创下|收于)",
            rf"{_PRICE}(?:创下?(?:历史|年内)?新[高低]|收于(?:日内)?[高低]点)|市场(?:最终)?选择了(?:上涨|下跌)|事实证明",
            r"事后(?:来看|看|证明)|(?:走势|行情|价格|盘面|市场反应)(?:也)?(?:已经|已)?(?:验证|印证|证实)了?",
            rf"(?:最终|结果|实际)[^。；，\n]{{0,6}}?{_PRICE}[^。；，\n]{{0,8}}?{_MOVED}",
            rf"{_PRICE}[^。；，\n]{{0,6}}?(?:从|由)\s*[\d.,]+[^。；，\n]{{0,6}}?(?:{_MOVED}|升|降)(?:至|到)",
            r"窗口(?:期)?内[^。；，\n]{0,8}?(?:收益|涨跌|上涨|下跌)|(?<![A-Za-z])[Tt]\s*\+\s*\d+\s*(?:分钟|min)?\s*(?:收益|涨|跌)",
            rf"(?i:after the (?:release|news|announcement|event|publication)[^.]{{0,40}}{_MOVED_ENGLISH})",
            rf"(?i:{_MOVED_ENGLISH}[^\n]{{0,40}}?(?:in|within|over) the (?:next |following )?\d+ ?min)",
            r"(?i:(?<!\d)\d{1,4} ?-?min(?:ute)?s? (?:forward |future )?return\s*(?:[:=]|was|is)\s*[-+]?\d)",
        )
    )
)
# Words that make a clause a guess, a rule or a condition. Not inside of 反应, 贸易, 资料, 会议 …
_HEDGE = re.compile(
    r"可能|或将|或|预计|(?<![资材原])料|有望|恐(?!慌|怖)|若|如果|一旦|通常|往往|一般|倾向|容易|(?<![交贸])易(?!主)"
    r"|(?<![社协委员大年峰商])会(?![议晤谈见员长])|将(?!近)|是否|能否|(?<![反效供])应(?!声|对)|概率|预测|难以|难定|未必|不一定"
)
_BEFORE = re.compile(r"(?:发布|公布|消息|数据|事件)(?:之|以)?前|此前|之前|早前|先前")
_AFTER_WORD = re.compile(rf"{_AFTER}|随后|其后|此后|之后|事后")
_ASIDE = re.compile(r'[(（][^()（）]*[)）]|["\\<>「」]')
_CLAUSE_END = "，,。；;！？!?\n"


class _Figure(NamedTuple):
    """`of`: what the number counts, as far as arithmetic cares: "%", "bp", "倍", "time" or something else ("").
    `scale`: 1e4 for 万 and so on."""

    text: str
    value: float
    decimals: int
    of: str
    scale: float


def figures_not_in(answer: str, source: str) -> list[str]:
    """The figures of `answer`, as written, that neither stand in `source` (instruction and input together, signs
    and units aside) nor follow from two of its figures by one difference, sum, share or change in percent,
    rounded as the answer rounds."""
    stated = _figures(source)
    as_written = {item.text for item in stated}
    missing: list[str] = []
    for figure in _figures(_SPAN.sub(" ", _LIST_MARK.sub(" ", answer))):
        if figure.text in as_written or figure.text in missing or any(_states(item, figure) for item in stated):
            continue
        if not _follows(stated, figure):
            missing.append(figure.text)
    return missing + [match[0] for match in _WRITTEN_OUT.finditer(answer) if match[0] not in source]


def hindsight(answer: str, source: str = "") -> list[str]:
    """Phrases of `answer` that tell what the market did afterwards. A phrase quoted from `source` is none, nor is one
    that a word of its clause makes a guess or a rule (可能, 通常, 若 …) or that speaks of the time before."""
    found = []
    source += _ASIDE.sub("", source)  # a headline may be quoted without its brackets
    for match in _HINDSIGHT.finditer(answer):
        clause = _clause(answer, match.start(), match.end())
        is_before = _BEFORE.search(clause) and not _AFTER_WORD.search(clause)
        if match[0] not in source and not is_before and not _HEDGE.search(clause):
            found.append(match[0])
    return found


def _clause(text: str, start: int, end: int) -> str:
    begin = max((text.rfind(mark, 0, start) for mark in _CLAUSE_END), default=-1) + 1
    stops = [at for mark in _CLAUSE_END if (at := text.find(mark, end)) >= 0]
    return text[begin : min(stops, default=len(text))]


def _figures(text: str) -> list[_Figure]:
    text = unicodedata.normalize("NFKC", text)
    found = []
    for match in _FIGURE.finditer(text):
        digits = match[0].replace(",", "")
        if len(digits) <= 18:  # longer ones are identifiers, not figures
            of = _OF[match["of"]] if match["of"] else "time" if match["time"] else ""
            scale = _SCALES[match["scale"]] if match["scale"] else 1.0
            found.append(_Figure(match[0], float(digits), len(digits.partition(".")[2]), of, scale))
    return found


def _states(stated: _Figure, figure: _Figure) -> bool:
    """As it stands, whatever the unit; or, rounded, in another unit that the figures themselves name: 万 and 亿,
    percent of a fraction, basis points."""
    if abs(stated.value - figure.value) <= 1e-9 * max(1.0, figure.value):
        return True
    if stated.scale != figure.scale:
        return abs(stated.value * stated.scale / figure.scale - figure.value) <= _half_unit(figure)
    factor = {("", "%"): 100.0, ("%", ""): 0.01, ("bp", "%"): 0.01, ("%", "bp"): 100.0}.get((stated.of, figure.of))
    fraction = min(stated.value, figure.value)
    if factor is None or ("bp" not in (stated.of, figure.of) and fraction > 1):
        return False
    return abs(stated.value * factor - figure.value) <= _half_unit(figure)


def _follows(stated: list[_Figure], figure: _Figure) -> bool:
    """Whether one step of arithmetic on two stated figures gives it, both percentages or both not. Shares in percent
    give percentages only; of a multiple (倍) the operands' own rounding is allowed for."""
    operands = list(
        {(item.value, item.decimals, item.of == "%"): item for item in stated if item.of != "time"}.values()
    )
    if not 0 < len(operands) <= _MOST_OPERANDS:
        return False
    values = np.array([operand.value for operand in operands])
    percent = np.array([operand.of == "%" for operand in operands])
    first, second = values[:, None], values[None, :]
    slack: float | np.ndarray[Any, np.dtype[np.float64]] = _half_unit(figure)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = first / second
        if figure.of == "%":
            candidates = np.stack([first - second, first + second, 100 * share, 100 * share - 100, 100 * share + 100])
        else:
            candidates = np.stack([first - second, first + second, share])
            if figure.of == "倍":
                rounded = np.array([_half_unit(operand) if operand.decimals else 0.0 for operand in operands])
                relative = rounded / np.maximum(values, 1e-12)
                slack = slack + share * (relative[:, None] + relative[None, :])
        alike = percent[:, None] == percent[None, :]  # a percentage of an amount is no difference of the two
        return bool((alike & (np.abs(np.abs(candidates) - figure.value) <= slack)).any())


def _half_unit(figure: _Figure) -> float:
    return 0.5 * 10.0**-figure.decimals * (1 + 1e-6) + 1e-12
