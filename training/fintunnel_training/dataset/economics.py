"""What economics says about a release or a kind of news, before anyone knows what the market did.

Tables of knowledge: which way a figure above consensus usually moves gold, what it means for the dollar, and what
may speak against it. Functions of what was published; nothing here sees a label or a price after publication.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fintunnel.wire import Figures

__all__ = ["Expected", "NewsKind", "expected_direction", "indicator_meaning", "news_kind", "surprise_polarity"]

Expected = Literal["up", "down", "in_line"]


@dataclass(frozen=True)
class Indicator:
    """`polarity` +1: a figure above consensus usually lifts gold, -1: usually weighs on it, 0: argues both ways.
    `above`, `below`: what a figure above or below consensus (or, without one, the previous) means."""

    pattern: re.Pattern[str]
    polarity: Literal[-1, 0, 1]
    above: tuple[str, ...]
    below: tuple[str, ...]


@dataclass(frozen=True)
class NewsKind:
    """`why`: what this kind of news usually does to gold and the dollar, both ways."""

    pattern: re.Pattern[str]
    name: str
    why: tuple[str, ...]


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
        ("能源供给偏松，对金价是间接的，经通胀预期传导",),
        ("能源供给偏紧，对金价是间接的，经通胀预期传导",),
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

# Kinds of news by words in the text: the first match counts. What they usually do to gold is said both ways, and
# nothing is said of how much: that is the label's to say.
_NEWS = tuple(
    NewsKind(re.compile(pattern), name, why)
    for pattern, name, why in (
        (
            r"(?<![相有机])关税|贸易(?:战|摩擦|谈判|协议|争端|代表)|出口管制|制裁|反倾销",
            "贸易与关税",
            (
                "摩擦升级推升避险买盘，缓和则释放风险偏好、压制黄金",
                "升级利于避险，但也抬高通胀和美元；缓和则相反",
                "不确定性支撑金价，谈判进展会让避险溢价回吐",
            ),
        ),
        (
            r"美联储|FOMC|鲍威尔|点阵图|联邦公开市场",
            "美联储",
            (
                "偏鸽压低美元和实际利率、利多黄金，偏鹰则相反",
                "降息预期升温利好金价，若强调通胀风险则支撑美元、压制黄金",
                "关键在利率路径：路径下移利多黄金，上移利空",
            ),
        ),
        (
            r"购金|增持黄金|黄金储备|黄金ETF|SPDR|持仓较上日",
            "黄金供需",
            (
                "官方和基金增持支撑金价，减持则压制，金价高位时买盘会放缓",
                "持仓增加说明配置需求，减少则多是获利了结，与美元走势互相牵制",
            ),
        ),
        (
            r"黄金|金价|现货金|期金|金条|白银|银价|期银|贵金属|COMEX",
            "贵金属行情",
            (
                "资金追涨与获利了结并存，关键看美元和实际利率",
                "顺势买盘会推高金价，涨多之后的获利盘又会压低",
                "行情消息多是结果而非原因，能否延续要看美元",
            ),
        ),
        (
            r"国债|美债|收益率|美元指数|美元(?:急|走|跌|涨|升|短线)|非美货币",
            "美元与美债",
            (
                "收益率和美元上行抬高持有黄金的成本，下行则利多黄金",
                "美元与金价通常反向，但避险时两者也会同涨",
                "利率下行利于黄金，若因流动性紧张而抛售则会一并受累",
            ),
        ),
        (
            r"袭击|空袭|导弹|无人机|停火|战争|战机|开火|冲突|交火|核设施|核武|俄乌|以军|俄军|乌军|加沙|胡塞|哈马斯|真主党",
            "地缘局势",
            (
                "紧张推升避险需求，缓和则让避险溢价回吐",
                "冲突扩大利多黄金，停火进展利空，消息常有反复",
                "避险买盘来得快去得也快，油价上行还会牵动通胀预期",
            ),
        ),
        (
            r"财政部|商务部|发改委|国务院|国常会|人民银行|中国央行|逆回购|LPR|MLF|离岸人民币|人民币|证监会|A股|港股|沪指|《求是》",
            "中国政策与市场",
            (
                "风险偏好与实物金消费方向相反，对美元的传导是间接的",
                "宽松提振风险资产、分流避险，但人民币计价的买盘会增加",
                "主要看是否改变风险情绪和人民币，再由此传到金价",
            ),
        ),
        (
            r"就业|非农|失业|通胀|CPI|PPI|PCE|GDP|PMI|零售销售|制造业",
            "经济数据",
            (
                "数据偏弱增强降息预期、利多黄金，偏强则相反",
                "强数据支撑美元、压制黄金，弱数据则利多，通胀偏高时另有抗通胀买盘",
                "关键看与预期的差距：偏强压制金价，偏弱托起金价",
            ),
        ),
        (
            r"央行|利率|降息|加息|行长",
            "央行政策",
            (
                "宽松压低利率、利于黄金，但本币走弱会抬升美元",
                "收紧抬升利率、不利黄金，但会压低美元指数",
                "政策转松利于黄金，转紧则抬高收益率、压制金价",
            ),
        ),
        (
            r"政府停摆|停摆|国会|参议院|众议院|法院|辞职|大选|选举|首相|总统|白宫|特朗普",
            "政局",
            (
                "不确定性升高利于避险，落定之后溢价会回吐",
                "政策前景不明支撑黄金，若被解读为财政扩张则美元走强",
                "涉及央行独立性会动摇美元，表态缓和则风险偏好回升",
            ),
        ),
        (
            r"原油|OPEC|欧佩克|油价|天然气|汽油",
            "能源",
            (
                "油价影响通胀预期，对黄金是间接的，方向取决于利率反应",
                "油价上行推升通胀利于抗通胀买盘，但也推高收益率",
                "供给消息先动油价，再经通胀预期传到金价，途中会打折扣",
            ),
        ),
        (
            r"公司|股份|股价|财报|营收|净利|英伟达|特斯拉|苹果|微软|芯片|股指|纳斯达克|道指|标普500|日经"
            r"|(?<![A-Za-z])AI(?![A-Za-z])",
            "公司与股市",
            (
                "先影响股市情绪，风险偏好升则分流避险买盘，降则相反",
                "与利率和美元没有直接联系，对黄金要经风险偏好传导",
                "股市走强分流避险资金，走弱时黄金也可能被变现",
            ),
        ),
        (
            r"",
            "综合要闻",
            (
                "对黄金要看是否改变避险情绪或美元：避险升温利多，风险偏好回升利空",
                "没有直接指向利率，避险情绪和美元的变化才会传到金价",
                "若引发避险则利多黄金，若提振风险偏好则利空",
            ),
        ),
    )
)


def expected_direction(figures: Figures | None) -> Expected | None:
    """Where surprise x polarity points for gold; None without a consensus or where economics argues both ways."""
    if figures is None or figures.actual is None or figures.consensus is None:
        return None
    surprise = figures.actual - figures.consensus
    if abs(surprise) < 1e-9:
        return "in_line"
    polarity = surprise_polarity(figures)
    if polarity == 0:
        return None
    return "up" if surprise * polarity > 0 else "down"


def surprise_polarity(figures: Figures) -> Literal[-1, 0, 1]:
    """+1: a figure above consensus usually lifts gold, -1: weighs on it, 0: argues both ways."""
    return _lookup(figures).polarity


def indicator_meaning(figures: Figures, *, above: bool) -> tuple[str, ...]:
    """Wordings of what a figure above or below its reference means for gold and the dollar."""
    indicator = _lookup(figures)
    return indicator.above if above else indicator.below


@lru_cache(maxsize=50_000)  # one event is worded several times
def news_kind(text: str) -> NewsKind:
    """The kind of a piece of news by its headline; by all of its text where the headline says nothing."""
    headline = re.split(r"[】。！？]", text, maxsplit=1)[0]
    kind = next(kind for kind in _NEWS if kind.pattern.search(headline))
    return kind if kind is not _NEWS[-1] else next(kind for kind in _NEWS if kind.pattern.search(text))


def _lookup(figures: Figures) -> Indicator:
    name = figures.indicator or ""
    return next(indicator for indicator in _INDICATORS if indicator.pattern.search(name))
