"""Released figures: as calendars hold them (text with units, percent signs and gaps) and as flashes state them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from fintunnel.wire import Figures

from fintunnel_training.dataset.sources.records import Event

__all__ = ["parse_release", "release_figures", "worded_surprise"]

_NUMBER = re.compile(r"^([+-]?\d{1,15}(?:\.\d{1,10})?)(%?)$")
_UNIT_IN_NAME = re.compile(r"[(（]([^()（）]+)[)）]\s*$")
_VALUE = r"([+-]?\d{1,12}(?:\.\d{1,6})?)\s*(%|[\u4e00-\u9fff]{1,4}(?=[，,。；;\s]|$))?"
# `某国某月指数年率 1.2%，预期1.1%，前值1.0%。` and `某国某月指数年率 前值:1.00 预期:1.10 公布:1.2`
_RELEASE_FIRST = re.compile(
    rf"^【?(?P<name>[^，。：:【】]{{4,60}}?)(?:\s+|录得|增加|上升|升至|降至|为|报)\s*{_VALUE}"
    rf"[，,]\s*(?:市场)?预期(?:值)?(?:为|增加|升至|降至)?\s*[:：]?\s*{_VALUE}"
)
_RELEASE_LAST = re.compile(
    rf"^(?P<name>[^，。：:]{{4,60}}?)\s*前值[:：]\s*{_VALUE}\s*预期[:：]\s*{_VALUE}\s*公布[:：]\s*{_VALUE}"
)
# `美国8月非农数据大幅低于预期`: which figure, and on which side of what was expected.
_WORDED = re.compile(
    r"(?P<name>(?:美国|欧元区|中国|英国|日本|德国)[^，。；：:]{0,30}?)(?:大幅|远|略|均|显著|意外)*"
    r"(?P<side>高于|超出|超过|超|低于|不及|逊于|符合)(?:市场|此前)?预期"
)
_ABOVE = ("高于", "超出", "超过", "超")
_PREVIOUS = re.compile(rf"前值(?:为)?\s*[:：]?\s*{_VALUE}")


def parse_release(
    name: str, previous: object, consensus: object, actual: object, unit: object = None
) -> tuple[str, Figures | None]:
    """The indicator's name without its unit, and the figures; None where nothing was released (`未公布`, empty)."""
    in_name = _UNIT_IN_NAME.search(name)
    indicator = name[: in_name.start()].strip() if in_name else name.strip()
    parsed = [_figure(raw) for raw in (actual, consensus, previous)]
    if parsed[0] is None:
        return indicator, None
    percent = parsed[0][1]
    # A figure in another unit than the actual one cannot be compared with it; a bare 0 is 0 in any unit.
    values = [f[0] if f is not None and (f[1] == percent or f[0] == 0) else None for f in parsed]
    # What stands in brackets may be a remark (上限), not a unit; a percent sign settles it.
    said = in_name[1] if in_name else str(unit or "").strip()
    return indicator, Figures(
        actual=values[0],
        consensus=values[1],
        previous=values[2],
        unit="%" if percent else said[:40] or None,
        indicator=indicator[:200],
    )


def _figure(raw: object) -> tuple[float, bool] | None:
    """A figure and whether it is in percent; None for what is no number."""
    if raw is None or isinstance(raw, bool):
        return None
    text = unicodedata.normalize("NFKC", str(raw)).strip().replace(",", "").replace("−", "-")
    match = _NUMBER.match(text)
    return (float(match[1]), match[2] == "%") if match else None


def release_figures(event: Event) -> Figures | None:
    """The figures of a release: the calendar's, or those that a flash states in its text in one of the usual forms."""
    return event.figures if event.figures is not None else _figures_in(event.text)


@lru_cache(maxsize=50_000)  # asked for by an event's label, its reasons and every wording of them
def _figures_in(text: str) -> Figures | None:
    last = _RELEASE_LAST.match(text)
    if last is not None:
        _, previous, unit, consensus, _, actual, _ = last.groups()
        return _stated(last["name"], actual, consensus, previous, unit)
    first = _RELEASE_FIRST.match(text)
    if first is None:
        return None
    _, actual, unit, consensus, _ = first.groups()
    before = _PREVIOUS.search(text)
    return _stated(first["name"], actual, consensus, before[1] if before else None, unit)


def worded_surprise(text: str) -> tuple[Figures, int] | None:
    """The indicator that a text speaks of without figures, and the side of its surprise: 1 above, -1 below, 0 as
    expected. None where the text says neither."""
    found = _WORDED.search(text)
    if found is None:
        return None
    side = 0 if found["side"] == "符合" else 1 if found["side"] in _ABOVE else -1
    return Figures(indicator=found["name"]), side


def _stated(name: str, actual: str, consensus: str, previous: str | None, unit: str | None) -> Figures:
    return Figures(
        actual=float(actual),
        consensus=float(consensus),
        previous=float(previous) if previous is not None else None,
        unit=unit,
        indicator=name.strip("【】 ")[:200],
    )
