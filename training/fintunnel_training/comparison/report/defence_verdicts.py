"""The defence sheet's answers that judge: they say what the intervals carry, and nothing beyond."""

from __future__ import annotations

from typing import Literal

from fintunnel_training.comparison.report.defence_facts import Facts
from fintunnel_training.comparison.report.findings import HEADLINES
from fintunnel_training.comparison.report.number_format import bracketed, difference
from fintunnel_training.comparison.report.verdicts import verdict_word
from fintunnel_training.comparison.result import MEASURES, Difference

__all__ = ["baselines", "believable", "honest"]

_NAMED = 4  # of one verdict; the report has them all


def believable(facts: Facts) -> str:
    """Against the base: the headline measures with their intervals."""
    say = facts.say
    found = [d for d in _found(facts, "base") if (d.group, d.name) in set(HEADLINES)]
    if not found:
        return say(
            "与微调前相比是否提升，这次没有测量，所以不能说有提升。",
            "Whether it gained on the base was not measured in this run, so no gain can be claimed.",
        )
    text = say("与微调前相比（差 [95% 区间]）：", "Against the base (difference [95 % interval]): ") + _by_verdict(
        facts, found
    )
    why = next((d.why_not for d in found if d.verdict == "unknown" and d.why_not), None)
    if why:
        text += say(f"没有区间的原因：{why[0]}。", f" Why there is no interval: {why[1]}.")
    return text + say(
        f"区间由 {facts.result.resamples} 次按天重抽样得出，{facts.result.seeds} 个种子都离开 0 才算；"
        "同时看多项时，每二十项约有一项会"
        "碰巧离开 0。",
        f" Intervals come from {facts.result.resamples} resamples of days, and count only if all "
        f"{facts.result.seeds} seeds "
        "leave zero; of many measures about one in twenty does so by luck.",
    )


def baselines(facts: Facts) -> str:
    """Against the best baseline: every measure, by verdict."""
    say = facts.say
    found = _found(facts, "best_baseline")
    if not found:
        return say(
            "这次没有和基线比较，所以不能说比基线好。",
            "No baseline was compared in this run, so it cannot be said to beat one.",
        )
    named = say.listed(dict.fromkeys(facts.short(one.second) for one in found))
    return say(f"最好的基线：{named}；", f"Best baselines: {named}; ") + _by_verdict(facts, found)


def honest(facts: Facts) -> str:
    """What was checked of what it writes, and what was not."""
    say, said = facts.say, []
    for group, name in HEADLINES:
        if group == "reports" and (found := facts.estimate(group, name)):
            said.append(f"{say.measure(name)} {found}")
    if said:
        text = say("财报题逐题对照资料：", "Report questions, checked against the passages: ") + say("；", "; ").join(
            said
        )
        text += say("；低于 1 的部分就是答错或乱编的。", "; what is short of 1 was wrong or made up.")
    else:
        text = say(
            "财报题的数字和引用是否正确，这次没有测量。",
            "Whether figures and citations are right was not measured in this run.",
        )
    text += say(
        "标签从固定的几类里打分选出，不会写出别的；新闻理由里的说法没有逐句核对",
        " Labels are chosen by scoring fixed classes and cannot be anything else; what the rationales claim "
        "was not checked "
        "sentence by sentence",
    )
    people = facts.result.people
    scales = people.scales.items() if people is not None else ()
    scored = [
        f"{say.scale(scale)} {bracketed(by_system[facts.tuned])}"
        for scale, by_system in scales
        if facts.tuned is not None and facts.tuned in by_system and by_system[facts.tuned].value is not None
    ]
    if scored:
        text += say("，但有人打分（1–5）：", ", but people scored them (1–5): ") + say.listed(scored[:3])
    return text + say("。", ".")


def _found(facts: Facts, against: Literal["base", "best_baseline"]) -> list[Difference]:
    if facts.tuned is None:
        return []
    return facts.findings.differences(
        facts.tuned,
        against,
        lambda d: MEASURES[d.name] != "neither" and (d.value is not None or d.verdict == "unknown"),
    )


def _by_verdict(facts: Facts, found: list[Difference]) -> str:
    say, groups = facts.say, []
    for verdict in ("better", "worse", "none", "unknown"):
        named = [one for one in found if one.verdict == verdict]
        if named:
            shown = [f"{say.measured(d.group, d.name)} {difference(d)}" for d in named[:_NAMED]]
            more = len(named) - len(shown)
            if more:
                shown.append(say(f"另 {more} 项见报告", f"{more} more in the report"))
            groups.append(f"{verdict_word(named[0], say)}{say('：', ': ')}{say.listed(shown)}")
    return say("；", "; ").join(groups) + say("。", ".")
