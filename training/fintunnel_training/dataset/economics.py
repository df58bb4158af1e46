"""What economics says about a release or a piece of news, before anyone knows what the market did.

`expected_direction` and `explain` are functions of what was published and of the market before it. Where
economics argues both ways, both stand in the text; nothing here sees a label or a price after publication.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

from fintunnel.prompt import format_number
from fintunnel.wire import Context, Figures, Signals

from fintunnel_training.dataset.database import Event

__all__ = ["Expected", "expected_direction", "explain", "explain_market"]

Expected = Literal["up", "down", "in_line"]


@dataclass(frozen=True)
class Indicator:
    """`polarity` +1: a figure above consensus usually lifts gold, -1: usually weighs on it, 0: argues both ways.
    `above`, `below`: what a figure above or below consensus (or, without one, the previous) means."""

    pattern: re.Pattern[str]
    polarity: Literal[-1, 0, 1]
    above: tuple[str, ...]
    below: tuple[str, ...]


def _indicator(pattern: str, polarity: Literal[-1, 0, 1], above: tuple[str, ...], below: tuple[str, ...]) -> Indicator:
    return Indicator(re.compile(pattern), polarity, above, below)


# The first match counts. Only releases that move the dollar's rate path have a polarity; each text says both what
# usually follows and what may speak against it, since nobody knows which will win this time.
_INDICATORS = (
    _indicator(
        r"^美国.*(失业|裁员)",
        1,
        (
            "就业走弱通常压低美元、利多黄金，但衰退担忧也可能推升美元",
            "就业降温利于降息和金价，但若引发抛售，黄金也会被变现",
        ),
        (
            "就业稳健通常支撑美元、压制黄金，但若通胀同步升温则有托底",
            "就业偏紧推高收益率、不利金价，但避险买盘仍可能对冲",
        ),
    ),
    _indicator(
        r"^美国.*(非农|ADP|就业|职位空缺|小时工资|薪资)",
        -1,
        (
            "就业强劲通常支撑美元、压制黄金，但工资推升通胀时有托底",
            "用工偏热推高收益率、不利金价，但避险买盘仍可能对冲",
        ),
        (
            "就业走弱通常压低美元、利多黄金，但衰退担忧也可能推升美元",
            "用工降温利于降息和金价，但若引发抛售，黄金也会被变现",
        ),
    ),
    _indicator(
        r"^美国.*(CPI|PPI|PCE|通胀|进口物价)",
        -1,
        ("通胀偏热会推迟降息、压制黄金，但抗通胀买盘可能托底",),
        ("通胀降温利于降息、利多黄金，但抗通胀需求也会减弱",),
    ),
    _indicator(
        r"^美国.*(利率决定|得标利率)",
        -1,
        ("利率走高抬升持有黄金的成本、压制金价，但若被视为政策失误则利多",),
        ("利率走低降低持有黄金的成本、利多金价，但若早在预期之中则易回吐",),
    ),
    _indicator(
        r"^美国.*(原油|汽油|精炼油)",
        0,
        ("库存增加压低油价和通胀预期，对黄金只有间接影响",),
        ("库存减少推高油价和通胀预期，对黄金只有间接影响",),
    ),
    _indicator(
        r"^美国.*(天然气|钻井)",
        0,
        ("能源供给偏松，与金价关联较弱，以情绪影响为主",),
        ("能源供给偏紧，与金价关联较弱，以情绪影响为主",),
    ),
    _indicator(
        r"^美国.*(PMI|ISM|订单|产出|零售|GDP|信心|领先|景气|商业活动|制造业|NAHB|房|销售|营建|新屋|个人支出)",
        -1,
        (
            "经济偏强支撑美元、压制黄金，但通胀升温时抗通胀买盘会托底",
            "增长韧性削弱降息预期、不利金价，但也可能推升通胀担忧",
        ),
        (
            "经济偏弱利于降息、利多黄金，但若引发流动性紧张也会拖累金价",
            "增长放缓压低收益率、利好金价，但避险美元走强会抵消一部分",
        ),
    ),
    _indicator(
        r"^美国",
        0,
        ("指标偏高，对美元和利率的含义不明确，方向取决于市场如何解读",),
        ("指标偏低，对美元和利率的含义不明确，方向取决于市场如何解读",),
    ),
    _indicator(
        r"^中国",
        0,
        ("中国数据偏高支撑实物金消费，但风险偏好回升会分流避险买盘",),
        ("中国数据偏低拖累实物金消费，但避险情绪可能托底",),
    ),
    _indicator(
        r"利率",
        0,
        ("该国利率走高支撑其货币、压低美元指数，但全球利率上行又不利黄金",),
        ("该国利率走低拖累其货币、抬升美元指数，但全球宽松又利于黄金",),
    ),
    _indicator(
        r"失业",
        0,
        ("当地就业走弱拖累本币、抬升美元，但宽松预期利于黄金",),
        ("当地就业改善支撑本币、压低美元，但宽松预期减弱不利黄金",),
    ),
    _indicator(
        r"",
        0,
        ("非美数据偏强支撑本币、压低美元，但全球收益率上行又不利黄金",),
        ("非美数据偏弱拖累本币、抬升美元，但宽松预期又利于黄金",),
    ),
)

# Kinds of news by words in the text: the first match counts.
_NEWS = (
    (r"黄金|金价|现货金|金条", "黄金市场", "资金追涨与获利了结并存，关键看美元和实际利率"),
    (r"美联储|FOMC|鲍威尔|联储|点阵图", "美联储", "偏鸽压低美元和实际利率、利多黄金，偏鹰则相反"),
    (r"关税|贸易|出口管制|制裁", "贸易与关税", "摩擦升级推升避险买盘，缓和则释放风险偏好、压制黄金"),
    (r"袭击|导弹|停火|战争|乌克兰|俄罗斯|以色列|伊朗|加沙|军", "地缘局势", "紧张推升避险需求，缓和则让避险溢价回吐"),
    (r"政府停摆|国会|法院|辞职|大选|首相|总统", "政局", "不确定性升高利于避险，落定之后溢价会回吐"),
    (r"就业|通胀|CPI|GDP|PMI|非农|失业", "经济数据", "数据偏弱增强降息预期、利多黄金，偏强则相反"),
    (r"央行|利率|降息|加息|欧洲央行|日本央行", "央行政策", "宽松压低利率、利于黄金，但本币走弱会抬升美元"),
    (r"原油|OPEC|油价|天然气", "能源", "油价影响通胀预期，对黄金是间接的，方向取决于利率反应"),
    (
        r"人民币|离岸|逆回购|LPR|国常会|财政部|商务部|证监会|A股|港股",
        "中国政策与市场",
        "风险偏好与实物金需求方向相反，短线影响通常有限",
    ),
    (r"公司|股价|财报|营收|净利|英伟达|特斯拉|苹果|芯片|AI", "公司与产业", "主要影响股市情绪，对黄金只有间接影响"),
    (r"", "综合消息", "对黄金没有直接的传导，要看是否改变避险情绪或美元"),
)
_NEWS_PATTERNS = tuple((re.compile(pattern), kind, why) for pattern, kind, why in _NEWS)
_QUOTE_CHARACTERS = 18


def expected_direction(figures: Figures | None) -> Expected | None:
    """Where surprise x polarity points for gold; None without a consensus or where economics argues both ways."""
    if figures is None or figures.actual is None or figures.consensus is None:
        return None
    surprise = figures.actual - figures.consensus
    if abs(surprise) < 1e-9:
        return "in_line"
    polarity = _lookup(figures).polarity
    if polarity == 0:
        return None
    return "up" if surprise * polarity > 0 else "down"


def explain(event: Event, context: Context | None, signals: Signals | None, rng: random.Random) -> str:
    """The rationale of a news answer: what was published, what it usually does to gold, the move before, and
    what that move says where it says something (the signals follow from it alone)."""
    if event.figures is not None and event.figures.actual is not None:
        parts = _release(event.figures, rng)
    else:
        parts = _news(event.text, rng)
    if context is not None:
        parts.append(_before(context, rng))
    if signals is not None:
        parts += _signal_reasons(signals, rng)
    return "。".join(parts) + "。"


def explain_market(context: Context | None, signals: Signals | None, rng: random.Random) -> str:
    """The reason of a market answer: why the moves before speak of priced-in expectations, waiting, or neither."""
    if context is None or signals is None:
        return "资料里没有发布前的行情，无法判断是预期兑现还是观望。"
    reasons = _signal_reasons(signals, rng) or [
        rng.choice(("既没有提前反映，也没有拉锯，两者都不明显", "未见预期兑现，也不算观望"))
    ]
    return f"{_before(context, rng)}。{'；'.join(reasons)}。"


def _signal_reasons(signals: Signals, rng: random.Random) -> list[str]:
    reasons = []
    if signals.priced_in:
        reasons.append(rng.choice(("涨跌幅度明显且与消息方向相符，属于预期兑现", "价格已提前反映消息，属于预期兑现")))
    if signals.wait_and_see:
        reasons.append(rng.choice(("波动大而涨跌小，多空拉锯，属于观望", "振幅较宽却没有方向，市场在观望")))
    return reasons


def _lookup(figures: Figures) -> Indicator:
    name = figures.indicator or ""
    return next(indicator for indicator in _INDICATORS if indicator.pattern.search(name))


def _release(figures: Figures, rng: random.Random) -> list[str]:
    unit = figures.unit or ""
    actual = f"{format_number(figures.actual or 0.0)}{unit}"
    reference, name = (figures.consensus, "预期") if figures.consensus is not None else (figures.previous, "前值")
    if reference is None:
        return [f"实际值{actual}，没有可比的预期和前值", "影响取决于市场此前的定价"]
    surprise = (figures.actual or 0.0) - reference
    against = f"{name}{format_number(reference)}{unit}"
    if abs(surprise) < 1e-9:
        return [
            f"实际值{actual}，与{against}一致",
            rng.choice(("没有意外，金价更多由美元和仓位主导", "符合预想，增量信息有限")),
        ]
    size = format_number(abs(surprise)) + ("个百分点" if unit == "%" else unit)
    indicator = _lookup(figures)
    return [
        f"实际值{actual}，{'高于' if surprise > 0 else '低于'}{against}，相差{size}",
        rng.choice(indicator.above if surprise > 0 else indicator.below),
    ]


def _news(text: str, rng: random.Random) -> list[str]:
    kind, why = next((kind, why) for pattern, kind, why in _NEWS_PATTERNS if pattern.search(text))
    headline = re.split(r"[】。！？]", re.sub(r'["\\<>「」]', "", text).lstrip("【"))[0]
    quote = headline[:_QUOTE_CHARACTERS]
    if len(headline) > len(quote):
        quote = re.sub(r"[\s\d.:：,，]+$", "", quote) + "…"  # never half a number
    # Never a mark first: after the JSON quote it would be tokenised together with it, unlike when it is served.
    opening = rng.choice((f"消息「{quote}」属于{kind}", f"{kind}方面的消息：「{quote}」"))
    return [opening, why]


def _before(context: Context, rng: random.Random) -> str:
    move = context.pre_return * 100
    moved = "基本持平" if abs(move) < 0.005 else f"{'上涨' if move > 0 else '下跌'}{abs(move):.2f}%"
    opening = rng.choice((f"此前{context.window_min}分钟", f"发布前{context.window_min}分钟金价"))
    return f"{opening}{moved}，波幅{context.volatility * 100:.2f}%"
