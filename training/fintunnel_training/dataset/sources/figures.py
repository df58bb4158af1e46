"""Released figures: as calendars hold them (text with units, percent signs and gaps) and as flashes state them."""

from __future__ import annotations

import re
import unicodedata

from fintunnel.wire import Figures

from fintunnel_training.dataset.sources.records import Event

__all__ = ["parse_release", "release_figures"]

_NUMBER = re.compile(r"^([+-]?\d{1,15}(?:\.\d{1,10})?)(%?)$")
_UNIT_IN_NAME = re.compile(r"[(（]([^()（）]+)[)）]\s*$")
_VALUE = r"([+-]?\d{1,12}(?:\.\d{1,6})?)\s*(%|[\u4e00-\u9fff]{1,4}(?=[，,。；;\s]|$))?"
# `美国8月CPI年率 2.9%，预期2.9%，前值2.7%。` and `美国8月CPI年率 前值:2.70 预期:2.90 公布:2.9`
_RELEASE_FIRST = re.compile(rf"^(?P<name>[^，。：:]{{4,60}}?)\s+{_VALUE}[，,]\s*预期(?:值)?\s*[:：]?\s*{_VALUE}")
_RELEASE_LAST = re.compile(
    rf"^(?P<name>[^，。：:]{{4,60}}?)\s*前值[:：]\s*{_VALUE}\s*预期[:：]\s*{_VALUE}\s*公布[:：]\s*{_VALUE}"
)
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
    if event.figures is not None:
        return event.figures
    last = _RELEASE_LAST.match(event.text)
    if last is not None:
        _, previous, unit, consensus, _, actual, _ = last.groups()
        return _stated(last["name"], actual, consensus, previous, unit)
    first = _RELEASE_FIRST.match(event.text)
    if first is None:
        return None
    _, actual, unit, consensus, _ = first.groups()
    before = _PREVIOUS.search(event.text)
    return _stated(first["name"], actual, consensus, before[1] if before else None, unit)


def _stated(name: str, actual: str, consensus: str, previous: str | None, unit: str | None) -> Figures:
    return Figures(
        actual=float(actual),
        consensus=float(consensus),
        previous=float(previous) if previous is not None else None,
        unit=unit,
        indicator=name.strip("【】 ")[:200],
    )
