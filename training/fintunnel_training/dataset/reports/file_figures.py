"""Figures that a report's text states by name, with their unit and period. Only what is certain is taken: a figure of
another year, of a subsidiary, of a plan, or without a unit of its own is left alone."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

__all__ = ["Ask", "AT_A_DATE", "Figure", "FigureKey", "find_figures", "mentioned", "title_period"]

_OF_SHAREHOLDERS = r"归属于(?:上市公司|母公司)?(?:股东|所有者|普通股股东)?的?"
# Where one name is part of another, the longer one comes first.
_NAMES = {
    "扣非净利润": rf"(?:{_OF_SHAREHOLDERS})?扣除非经常性损益后?的?(?:{_OF_SHAREHOLDERS})?净利润|扣非(?:归母)?净利润",
    "归母净利润": rf"{_OF_SHAREHOLDERS}净利润|归母净利润",
    "经营活动现金流量净额": "经营活动(?:产生的)?现金流(?:量)?净额",
    "净资产收益率": "(?:加权平均)?净资产收益率",
    "资产负债率": "资产负债率",
    "营业收入": "营业总?收入|营收",
    "营业成本": "营业成本",
    "净利润": "净利润",
    "毛利率": "毛利率",
    "净利率": "销售净利率|净利率",
    "利润总额": "利润总额",
    "营业利润": "营业利润(?!率)",
    "销售费用": "销售费用(?!率)",
    "管理费用": "管理费用(?!率)",
    "研发费用": "研发费用(?!率)",
    "财务费用": "财务费用(?!率)",
    "销售费用率": "销售费用率",
    "管理费用率": "管理费用率",
    "研发费用率": "研发费用率",
    "非流动资产": "非流动资产(?:合计|总额)?",
    "非流动负债": "非流动负债(?:合计|总额)?",
    "流动资产": "流动资产(?:合计|总额)?",
    "流动负债": "流动负债(?:合计|总额)?",
    "总资产": "总资产(?!收益|周转|报酬)|资产总额|资产总计|资产合计",
    "总负债": "总负债|负债总额|负债总计|负债合计",
    "货币资金": "货币资金",
    "应收账款": "应收账款(?!周转)",
    "净现比": "净现比",
    "流动比率": "流动比率",
}
_ITEM = re.compile("|".join(f"(?P<item{index}>{names})" for index, names in enumerate(_NAMES.values())))
_ITEMS = list(_NAMES)
_PERCENT = ("毛利率", "净利率", "资产负债率", "净资产收益率", "销售费用率", "管理费用率", "研发费用率")
AT_A_DATE = (
    *("非流动资产", "非流动负债", "流动资产", "流动负债", "总资产", "总负债"),
    *("货币资金", "应收账款", "资产负债率", "流动比率"),
)
# What may stand before a name without narrowing it: 「子公司营业收入」「上年营业收入」 are other figures. A run-on text
# goes from one figure's unit to the next name.
_BEFORE = re.compile(
    r"(?:^|[。，；、：:！？）)\s]|实现|[^子母]公司|集团|[^上去前]年(?:[度末初])?|综合|报告期[内末]|[。，；\s本]期末"
    r"|[全半]年度|季度|\d[月日]|[月年]初|\d(?:亿|万|百万|千)?元|\d[%％])$"
)
# The same, said earlier in the sentence; a comparison (较上年…) narrows nothing.
_NARROWED = re.compile("上年|去年|前年|上期|同期|预计|预测|预期|有望|目标|计划|假设|子公司|其中|承诺|分部|业务|板块")
_YEAR_BEFORE = re.compile("(?:上年同期|去年同期|上年|去年|上年度|上期)的?$")
# Of a table or list whose lines have run together a line narrows only itself, unless it heads those below.
_UNMARKED = re.compile(r"(?<=[元%％])\s*(?=[^\s\d，,。；;、：:（()）!！?？和与及至较比]|$)")
_NARROWED_BELOW = re.compile(rf"(?:{_NARROWED.pattern})(?:数|金额|数据)?(?:[：:\s]|$)")
_COMPARED = re.compile(r"(?:较|比|与|同)(?:上年|去年|上期|同期|(?:19|20)\d\d\s*年)(?:同期|度|末)?")
_NUMBER = r"(?P<number>[-－]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
_UNITS = {"亿元": 10**8, "百万元": 10**6, "万元": 10**4, "千元": 10**3, "元": 1, "%": 1}
# After it, no range, rate or rounding, no second figure of a list and no further column of a table.
_UNIT = (
    r"(?P<unit>亿元|百万元|万元|千元|元|[%％])"
    r"(?!\s*(?:[/／至到~～—-]|以[上下]|左右|或|[和与及、]\s*[-－]?\d)|[ \t]+[-－(（]?\d)"
)
_CHANGE = (
    r"(?:[，,（(]?\s*(?:较上年(?:同期)?(?:同比)?|同比)(?P<word>增长|上升|增加|下降|减少)\s*(?P<rate>\d+(?:\.\d+)?)\s*[%％]"
    r"(?![，,]?\s*(?:至|到)))?"
)
_VALUE = re.compile(rf"(?:人民币)?(?:为|是|达到?|实现|：|:)?(?:人民币)?\s*{_NUMBER}\s*{_UNIT}{_CHANGE}")
_PERIOD = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)\s*年度?(?P<part>上半年|下半年|半年度?|(?:第|前)?[一二三四]个?季度"
    r"|\d{1,2}[-—~至]\d{1,2}月|\d{1,2}月(?:\d{1,2}日|[末底份])?|初)?"
    r"|(?P<bare>上半年|下半年|(?:第|前)?[一二三四]个?季度)"
)
_TITLE = re.compile("(?:年度?|中期|季度?)?(?:财务)?报[告表]")
_YEAR_END = ("12月31日", "12月末", "12月底", "12月")


FigureKey = tuple[str, Decimal]


class Figure(NamedTuple):
    """`period`: 「2023年」, 「2023年上半年」 or "" where neither sentence nor title says; `written`: number and unit as
    the text has them; `change`: 「增长5.1%」 where it follows at once."""

    name: str
    period: str
    number: Decimal
    unit: str
    written: str
    change: str | None
    start: int
    end: int

    @property
    def key(self) -> FigureKey:
        """The same for the same figure in another unit or another place."""
        return self.name, (self.number * _UNITS[self.unit]).normalize()


class Ask(NamedTuple):
    """Something to ask of a passage: `item` is answered by `used`, which stand in text[start:end] (whole sentences)."""

    kind: str
    item: str
    period: str
    used: tuple[Figure, ...]
    start: int
    end: int


@lru_cache(maxsize=50_000)
def find_figures(text: str, title: str = "") -> tuple[Figure, ...]:
    """The figures that `text`, of a report named `title`, states by a known name. Left out are names with two figures
    for the same period, since a question by such a name would have two answers, and figures of parts or of plans."""
    mentions = list(_ITEM.finditer(text))
    figures: dict[str, list[Figure | None]] = {}
    for mention, following in zip_longest(mentions, mentions[1:]):
        name = _item(mention)
        figure = _figure(text, name, mention, title_period(title))
        clause = re.split("[，。；]", text[mention.end() : following.start() if following else len(text)], maxsplit=1)[
            0
        ]
        if name not in _PERCENT:
            clause = re.sub(r"\d{4}\s*年|[\d.]+\s*[%％]", "", clause)  # 「营业收入较2022年增长10%」
        # What says no number is no second answer, nor is 「上年同期营业收入…」.
        if figure or (re.search(r"\d", clause) and not _YEAR_BEFORE.search(text, 0, mention.start())):
            figures.setdefault(name, []).append(figure)
    found = []
    for named in figures.values():
        clear = [figure for figure in named if figure]
        periods = {figure.period for figure in clear}
        if len(periods) == len(named) and (len(named) == 1 or "" not in periods):
            found += clear
    return tuple(sorted(found, key=lambda figure: figure.start))


def _item(mention: re.Match[str]) -> str:
    return _ITEMS[int((mention.lastgroup or "")[len("item") :])]


def _figure(text: str, name: str, mention: re.Match[str], default_period: str) -> Figure | None:
    value = _VALUE.match(text, mention.end())
    if value is None or not _BEFORE.search(text[max(0, mention.start() - 8) : mention.start()] or "。"):
        return None
    unit = value["unit"].replace("％", "%")
    sentence = _COMPARED.sub("", re.split("[。！？]", text[: mention.start()])[-1])
    *lines, line = _UNMARKED.split(sentence)
    narrowed = _NARROWED.search(line) or any(_NARROWED_BELOW.search(earlier) for earlier in lines)
    period = _period(sentence, default_period)
    if (unit == "%") != (name in _PERCENT) or narrowed or period is None:
        return None
    plain = value["number"].replace("－", "-")
    change = f"{value['word']}{value['rate']}%" if value["word"] else None
    number = Decimal(plain.replace(",", ""))
    return Figure(name, period, number, unit, plain + unit, change, mention.start(), value.end())


def _period(sentence: str, default: str) -> str | None:
    """The period that the sentence names last; None where that is a day of business, not of a balance sheet."""
    # 「2024年第三季度报告」 is a title.
    named = [found for found in _PERIOD.finditer(sentence) if not _TITLE.match(sentence, found.end())]
    if not named:
        return default
    if named[-1]["bare"]:
        return named[-1]["bare"]
    part = named[-1]["part"] or ""
    if part in _YEAR_END:
        part = ""
    if part.endswith("日") and not re.fullmatch("(?:3月31|6月30|9月30)日", part):
        return None
    return f"{named[-1]['year']}年{part}"


def title_period(title: str) -> str:
    years = set(re.findall(r"(?<!\d)((?:19|20)\d\d)(?!\d)", title))
    return f"{years.pop()}年" if len(years) == 1 and not re.search("季|半年|中报|中期|月", title) else ""


def mentioned(text: str) -> set[str]:
    return {_item(mention) for mention in _ITEM.finditer(text)}
