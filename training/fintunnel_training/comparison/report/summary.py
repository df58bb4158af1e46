"""The answer in plain words: is the tuned model better, at what, by how much, and how sure is that?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from fintunnel_training.comparison.report.findings import HEADLINES, Findings
from fintunnel_training.comparison.report.number_format import bracketed, difference, estimate
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.verdicts import judgement, verdict_word
from fintunnel_training.comparison.result import MEASURES, ComparisonResult, Difference, Reliability, System

__all__ = ["people_said", "summary"]

_ABILITIES = tuple(headline for headline in HEADLINES if headline.group in ("reports", "form"))
Against = Literal["base", "best_baseline"]
_THAN: dict[Against, tuple[str, str]] = {
    "base": ("与微调前", "against the base"),
    "best_baseline": ("与最好的基线", "against the best baseline"),
}


def summary(result: ComparisonResult, language: Language) -> list[str]:
    """Sentences for a reader who reads nothing else; the first is the verdict. Texts are not escaped."""
    say, findings = Say(language), Findings(result)
    said = [_verdict(findings, tuned, say) for tuned in findings.of_kind("tuned")]
    if not said:
        said = [say("没有微调后的模型参加比较。", "No tuned model took part.")]
    for tuned in findings.of_kind("tuned"):
        said += [*_abilities(findings, tuned, say), *_details(findings, tuned, say), *_others(findings, tuned, say)]
    said += [_calibration(one, say) for one in result.reliability if findings.kind(one.system) == "tuned"]
    said += people_said(result, say)
    said += [
        _failed(system, say) for system in result.systems if system.failed or system.failure or not _answered(system)
    ]
    return [*said, _asked(result, say)]


# --- the sentences ----------------------------------------------------------------------------------------


def _verdict(findings: Findings, tuned: System, say: Say) -> str:
    parts = []
    against: Against
    for against in ("base", "best_baseline"):
        named = _headlines(findings, tuned, against)
        if not named:
            continue
        groups = [
            _counted(measures, say)
            for verdict in ("better", "worse", "none", "unknown")
            if (measures := [found for found in named if found.verdict == verdict])
        ]
        than = say(*_THAN[against]) + say("相比，", ": ")
        parts.append(than + say("；", "; ").join(groups) + say("。", "."))
    if parts and not findings.differences(tuned.name, "best_baseline"):
        parts.append(say("没有和基线比较。", "no baseline was compared."))
    if not parts:
        return say(
            f"“{tuned.name}”是否更好，这次没有测量（没有可比的带标签的问题）；只能并排看回答。",
            f"Whether “{tuned.name}” is better was not measured (no labelled questions to compare on); the answers can "
            "only be read side by side.",
        )
    return f"“{tuned.name}”" + say("", " ") + say("", " And ").join(parts)


def _counted(found: list[Difference], say: Say, *, figures: bool = False) -> str:
    """Several measures of one verdict: how many, and which."""
    names = say.listed(
        f"{say.measured(one.group, one.name)} {difference(one)}" if figures else say.measured(one.group, one.name)
        for one in found
    )
    word = verdict_word(found[0], say)
    return say(f"{len(found)} 项{word}（{names}）", f"{word} in {len(found)} ({names})")


def _details(findings: Findings, tuned: System, say: Say) -> Iterator[str]:
    """One sentence per headline measure: the value, and both differences."""
    who = f"{tuned.name} " if len(findings.of_kind("tuned")) > 1 else ""
    for group, name in HEADLINES:
        own = findings.estimate(group, name, tuned.name)
        if own is None or own.value is None:
            continue
        parts = []
        against: Against
        for against in ("base", "best_baseline"):
            found = findings.difference(group, name, tuned.name, against)
            if found is not None and found.value is not None:
                word = judgement(found, say) if found.verdict in ("none", "unknown") else verdict_word(found, say)
                parts.append(f"{_than(found, say)} {difference(found)}{say('，', ', ')}{word}")
        if parts:
            yield (
                f"{say.measured(group, name)}{say('：', ': ')}{who}{estimate(name, own)}{say('；', '; ')}"
                f"{say('；', '; ').join(parts)}{say('。', '.')}"
            )


def _than(found: Difference, say: Say) -> str:
    """What is subtracted; the base is the same throughout, the best baseline is not."""
    if found.against == "base":
        return say("比微调前", "against the base")
    return say(f"比最好的基线“{found.second}”", f"against the best baseline “{found.second}”")


def _others(findings: Findings, tuned: System, say: Say) -> Iterator[str]:
    """The measures that are not spoken of one by one: none of them is kept back."""
    headlines = set(HEADLINES)
    against: Against
    for against in ("base", "best_baseline"):
        rest = findings.differences(
            tuned.name,
            against,
            lambda d: (d.group, d.name) not in headlines and MEASURES[d.name] != "neither" and d.value is not None,
        )
        groups = [
            _counted(named, say, figures=verdict == "worse")
            for verdict in ("better", "worse", "none")
            if (named := [found for found in rest if found.verdict == verdict])
        ]
        if groups:
            listed = say("；", "; ").join(groups)
            base = findings.base_of(tuned.name)
            # Both sides of the sentence below would be true without it, and their sum a wrong impression.
            caveat = ""
            if against == "base" and base is not None and tuned.calibrated and not base.calibrated:
                caveat = say(
                    "微调前的概率没有校准，Brier、ECE、准确率的差别有一部分来自校准。",
                    " The base is not calibrated: part of the difference in Brier score, ECE and accuracy is that.",
                )
            yield say(
                f"其余指标{_THAN[against][0]}相比：{listed}。其余数字见“差异”。{caveat}",
                f"Other measures {_THAN[against][1]}: {listed}. Further figures stand under “Differences”.{caveat}",
            )


def _abilities(findings: Findings, tuned: System, say: Say) -> Iterator[str]:
    base = findings.base_of(tuned.name)
    parts = []
    for group, name in _ABILITIES if base is not None else ():
        assert base is not None
        before, after = findings.value(group, name, base.name), findings.value(group, name, tuned.name)
        if before is not None and after is not None:
            parts.append(f"{say.measured(group, name)} {before * 100:.0f}% → {after * 100:.0f}%")
    if parts:
        yield (
            say("会做的事，微调前 → 微调后：", "What it can do, before → after tuning: ")
            + say("；", "; ").join(parts)
            + say("。", ".")
        )


def _calibration(one: Reliability, say: Say) -> str:
    text = say(
        f"{one.system} 在{say.field(one.field)}上的校准误差 ECE 是 {one.ece:.3f}",
        f"The calibration error (ECE) of {one.system} on {say.field(one.field).lower()} is {one.ece:.3f}",
    )
    if one.chance is None:
        return text + say("；没有算出只凭偶然会有多大。", "; what chance alone would give was not computed.")
    usual, most = one.chance
    text += say(
        f"；概率完全准确时，这么多行只凭偶然平均也有 {usual:.3f}，20 次里有 19 次不超过 {most:.3f}",
        f"; with perfect probabilities so many rows would by chance alone show {usual:.3f} on average, and at most "
        f"{most:.3f} in 19 of 20 cases",
    )
    if one.ece <= most:
        return text + say("，所以看不出校准有问题。", ", so no miscalibration can be seen.")
    return text + say("，所以概率还没有校准好。", ", so the probabilities are not well calibrated.")


def people_said(result: ComparisonResult, say: Say) -> Iterator[str]:
    people = result.people
    if people is None:
        return
    rate = people.win_rate
    if rate.value is None:
        yield say(
            f"人工评判：没有胜率（{rate.why_not[0] if rate.why_not else '没有评分'}）。",
            f"People: no win rate ({rate.why_not[1] if rate.why_not else 'no ratings'}).",
        )
        return
    text = say(
        f"人工盲评（{len(people.raters)} 人，{people.pairs} 对，{people.ratings} 次）：{people.first} 对 "
        f"{people.second} 的胜率 "
        f"{bracketed(rate)}",
        f"People, blind ({len(people.raters)} raters, {people.pairs} pairs, {people.ratings} ratings): "
        f"{people.first} wins "
        f"against {people.second} at a rate of {bracketed(rate)}",
    )
    if rate.low is None or rate.high is None:
        yield text + say("；给不出区间，不能下结论。", "; no interval, so no conclusion.")
    elif rate.low > 0.5:
        yield text + say("，区间高于 0.5：他们更喜欢它。", ", above 0.5: they prefer it.")
    elif rate.high < 0.5:
        yield text + say("，区间低于 0.5：他们更不喜欢它。", ", below 0.5: they prefer the other.")
    else:
        yield text + say("，区间含 0.5：分不出高下。", ", which contains 0.5: they cannot be told apart.")


def _failed(system: System, say: Say) -> str:
    text = say(
        f"{system.name} 答了 {system.answered} 个，失败 {system.failed} 个（共问 {system.asked} 个）",
        f"{system.name} answered {system.answered} and failed {system.failed} of {system.asked} questions",
    )
    return text + (say("：", ": ") + system.failure if system.failure else "") + say("。", ".")


def _asked(result: ComparisonResult, say: Say) -> str:
    data = result.data
    text = say(
        f"问了 {data.news} 条新闻（{data.labelled} 条有真实结果，分布在 {data.days} 天）和 {data.reports} 道财报题",
        f"Asked: {data.news} pieces of news ({data.labelled} with known outcome, over {data.days} days) and "
        f"{data.reports} "
        "report questions",
    )
    if any(found.low is not None for measure in result.measures for found in measure.systems.values()):
        return text + say(
            f"；方括号是 95% 区间，由成对的按整天分块自助抽样（block bootstrap）{result.resamples} 次得出，"
            f"{result.seeds} 个种子都要离开 0 才算数。",
            f"; brackets are 95 % intervals of a paired block bootstrap ({result.resamples} resamples of whole days), "
            "and a difference "
            "counts only "
            f"where the intervals of all {result.seeds} seeds leave zero.",
        )
    reasons = list(dict.fromkeys(say(*e.why_not) for m in result.measures for e in m.systems.values() if e.why_not))
    why = say("：", ": ") + say.listed(reasons) if reasons else ""
    return text + say("；区间给不出来", "; no intervals can be given") + why + say("。", ".")


def _headlines(findings: Findings, tuned: System, against: Against) -> list[Difference]:
    found = (findings.difference(group, name, tuned.name, against) for group, name in HEADLINES)
    return [one for one in found if one is not None and (one.value is not None or one.verdict == "unknown")]


def _answered(system: System) -> bool:
    return system.kind == "baseline" or system.answered > 0
