"""Which texts are no single piece of news: digests, adverts, empty ones. Each goes with its reason counted."""

from __future__ import annotations

import re

from fintunnel_training.dataset.sources.records import Event

__all__ = ["reason_to_drop"]

# A digest answers no question about one moment: it lists what came before or will come.
_DIGEST = re.compile(
    r"(?:今日|明日|本周|下周|今晚|晚间|日内).{0,4}(?:重点)?关注(?:的财经|：|:)|重点关注的财经数据"
    r"|^【?(?:金十)?(?:数据)?整理|^【?金十(?:数据)?整理"
    r"|(?:要闻|新闻|资讯|快讯|行情|公告)(?:速递|汇总|精选|一览|回顾|盘点)|(?:早|午|晚)(?:报|餐|评)[：:】\s（(]"
    r"|财经日历|一周(?:回顾|前瞻|要闻)|过去24小时|最新24小时"
    r"|^【?(?:国内|国际|重要|个股|公司|海外|行业|期货|宏观)(?:新闻|要闻|消息)[：:】]?\s*1[.、．]"
)
_MARKETS = (
    r"(?:美股|欧股|A股|港股|亚股|日股|韩股|日韩|沪深|两市|沪指|上证|深成指|创业板|恒指|恒生|道指|三大指数|三大股指"
    r"|国内期货|商品期货|期货|夜盘)"
)
_WRAP = re.compile(rf"{_MARKETS}.{{0,16}}?(?:收盘|午盘|收评|午评|盘前要闻|盘前市场|早盘速递)")
_ADVERT = re.compile(
    r"点击(?:查看|这里|链接|阅读|进入|观看|下方|收听|领取|预约)|扫(?:描)?(?:二维)?码|关注(?:公众号|我们|微信)"
    r"|立即(?:报名|订阅|开通|领取|预约|下载)|限时(?:优惠|特惠|免费)|免费领取|开通(?:VIP|会员)|下载(?:金十|APP|客户端)"
    r"|直播间|正在直播|优惠价|报名(?:链接|通道)"
)
_ITEM = re.compile(r"[①-⑳]|(?:^|[。；;：:！？\s）)])\s*\d{1,2}[.、．](?!\d)")
_MANY_ITEMS = 4
_LETTER = re.compile(r"\w")


def reason_to_drop(event: Event) -> str | None:
    """Why this event is no row, or None. Calendar entries are always one piece of news."""
    if not _LETTER.search(event.text):
        return "empty text"
    if event.kind == "calendar":
        return None
    if _ADVERT.search(event.text):
        return "advert or teaser"
    if _DIGEST.search(event.text) or len(_ITEM.findall(event.text)) >= _MANY_ITEMS:
        return "digest of several pieces of news"
    if _WRAP.search(event.text[:60]):
        return "market wrap"
    return None
