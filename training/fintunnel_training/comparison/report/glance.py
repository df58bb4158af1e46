"""The few figures that stand on top, each with what it is to be compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fintunnel_training.comparison.report.findings import HEADLINES, Findings, number_in
from fintunnel_training.comparison.report.number_format import bracketed, duration, interval, number, percent
from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.report.verdicts import verdict_word
from fintunnel_training.comparison.result import ComparisonResult

__all__ = ["Tile", "tiles"]

_FEW = 8


class Tile(NamedTuple):
    """`others`: what the systems to compare with have; `verdicts`: (verdict, what it says) of the differences."""

    title: str
    value: str
    detail: str
    others: list[str]
    verdicts: list[tuple[str, str]]


def tiles(result: ComparisonResult, say: Say) -> list[Tile]:
    """Of the first tuned model: what it is measured by, what people said, what training took."""
    return list(_tiles(result, say))[:_FEW]


def _tiles(result: ComparisonResult, say: Say) -> Iterator[Tile]:
    findings = Findings(result)
    tuned = next(iter(findings.of_kind("tuned")), None)
    if tuned is None:
        return
    for group, name in HEADLINES:
        own = findings.estimate(group, name, tuned.name)
        if own is None or own.value is None:
            continue
        others: list[str] = []
        verdicts: list[tuple[str, str]] = []
        for against in ("base", "best_baseline"):
            found = findings.difference(group, name, tuned.name, against)
            if found is None:
                continue
            other = findings.value(group, name, found.second)
            than = say("微调前", "base") if against == "base" else say("最好的基线", "best baseline")
            others.append(f"{than} {'–' if other is None else number(name, other)}")
            verdicts.append((found.verdict, say(f"与{than}比：", f"vs {than}: ") + verdict_word(found, say)))
        yield Tile(
            say.measured(group, name), number(name, own.value), interval(name, own.low, own.high), others, verdicts
        )
    people = result.people
    if people is not None and people.win_rate.value is not None:
        rate = people.win_rate
        text = bracketed(rate)
        yield Tile(
            say("人工盲评胜率", "Win rate, people"),
            text.split(" ")[0],
            text.partition(" ")[2],
            [
                say(
                    f"{len(people.raters)} 人，{people.ratings} 次",
                    f"{len(people.raters)} raters, {people.ratings} ratings",
                )
            ],
            [],
        )
    training = next((one for one in result.training if one.system == tuned.name), None)
    share = number_in(training.info, "trainable_share") if training else None
    if training is not None and share:
        seconds, samples = number_in(training.info, "seconds"), number_in(training.info, "samples")
        others = [
            *([say(f"训练样本 {samples:,.0f}", f"{samples:,.0f} samples")] if samples is not None else []),
            *([say(f"用时 {duration(seconds)}", f"took {duration(seconds)}")] if seconds is not None else []),
        ]
        yield Tile(say("训练的参数", "Parameters trained"), percent(share), "", others, [])
