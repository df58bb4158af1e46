"""Numbers as the tables and sentences write them: one form for each measure."""

from __future__ import annotations

from fintunnel_training.comparison.result import Difference, Estimate, MeasureName

__all__ = ["bracketed", "difference", "duration", "estimate", "interval", "number", "percent", "signed", "size"]

_DECIMALS: dict[MeasureName, int] = {
    "characters": 1,
    "milliseconds": 0,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "requests_per_second": 2,
}


def number(name: MeasureName, value: float) -> str:
    """Shares and scores with 3 decimals, counts and times with what can be read."""
    return _without_minus_zero(f"{value:,.{_DECIMALS.get(name, 3)}f}")


def signed(name: MeasureName, value: float) -> str:
    text = f"{value:+,.{_DECIMALS.get(name, 3)}f}"
    return "0" + text[2:] if text[0] in "+-" and not text.strip("+-0.,") else text


def interval(name: MeasureName, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """`[0.553, 0.668]`, or nothing where there is none."""
    if low is None or high is None:
        return ""
    form = signed if sign else number
    return f"[{form(name, low)}, {form(name, high)}]"


def estimate(name: MeasureName, found: Estimate) -> str:
    """`0.612 [0.553, 0.668]`; a dash where there is no value."""
    if found.value is None:
        return "–"
    return f"{number(name, found.value)} {interval(name, found.low, found.high)}".strip()


def difference(found: Difference) -> str:
    """`+0.051 [+0.012, +0.090]`; a dash where there is no value."""
    if found.value is None:
        return "–"
    return f"{signed(found.name, found.value)} {interval(found.name, found.low, found.high, sign=True)}".strip()


def bracketed(found: Estimate, decimals: int = 2) -> str:
    """An estimate that is none of the measures: a win rate, a kappa, a mean of a scale."""
    if found.value is None:
        return "–"
    text = f"{found.value:.{decimals}f}"
    if found.low is not None and found.high is not None:
        text += f" [{found.low:.{decimals}f}, {found.high:.{decimals}f}]"
    return text


def percent(share: float) -> str:
    """With as many decimals as a small share needs: 0.0178 is 1.78 %."""
    return f"{share * 100:.2f}%" if share < 0.1 else f"{share * 100:.1f}%"


def size(bytes_: float) -> str:
    """In MB of 1,000,000 bytes, as file managers and the hub count, or GB and KB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= factor:
            return f"{bytes_ / factor:.1f} {unit}"
    return f"{bytes_ / 1e3:.1f} KB"


def duration(seconds: float) -> str:
    """`2:03:05`, or `2:41` below an hour: read alike in both languages."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _without_minus_zero(text: str) -> str:
    return text[1:] if text[0] == "-" and not text.strip("-0.,") else text
