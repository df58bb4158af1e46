"""What may be said of a difference."""

from __future__ import annotations

from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.result import MEASURES, Difference

__all__ = ["NO_GAIN", "judgement", "verdict_word"]

NO_GAIN = ("没有测到提升", "no measured gain")


def verdict_word(found: Difference, say: Say) -> str:
    """What may be said of a difference, and no more."""
    if MEASURES[found.name] == "neither":
        return say("不分好坏", "neither is better")
    match found.verdict:
        case "better":
            return say("测得更好", "measurably better")
        case "worse":
            return say("测得更差", "measurably worse")
        case "none":
            return say(*NO_GAIN) if found.against == "best_baseline" else say("分不出高下", "cannot be told apart")
        case "unknown":
            return say("给不出区间，不能下结论", "no interval, so no conclusion")


def judgement(found: Difference, say: Say) -> str:
    """The word with its ground."""
    word = verdict_word(found, say)
    if MEASURES[found.name] == "neither":
        return word
    if found.verdict == "unknown":
        return word + (say(f"（{found.why_not[0]}）", f" ({found.why_not[1]})") if found.why_not else "")
    if found.verdict != "none":
        return word + say("（区间不含 0）", " (the interval leaves out zero)")
    if found.low is not None and found.high is not None and found.low <= 0 <= found.high:
        return word + say("（区间含 0）", " (the interval contains zero)")
    return word + say(
        "（换一个重抽样种子，区间就含 0）", " (with another seed of resampling the interval contains zero)"
    )
