"""Comparisons over HTTP at next to no cost, and what is looked up in what they found."""

from __future__ import annotations

from pathlib import Path

from fintunnel_training.comparison.compare import Found, Options
from fintunnel_training.comparison.result import Measure, System
from fintunnel_training.comparison.systems import Choice


def options(tmp_path: Path, choice: Choice, **changes: object) -> Options:
    given = {"texts": 8, "resamples": 1000, "seeds": 2, "training": tmp_path / "i.jsonl"} | changes
    return Options(out=tmp_path / "out", choice=choice, **given)  # type: ignore[arg-type]


def system(found: Found, name: str) -> System:
    return next(each for each in found.result.systems if each.name == name)


def measure(found: Found, group: str, name: str) -> Measure:
    return next(each for each in found.result.measures if (each.group, each.name) == (group, name))
