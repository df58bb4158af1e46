from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fintunnel.wire import DIRECTIONS, IMPACTS, NewsRequest, Passage, ReportRequest
from fintunnel_training.comparison.baselines import Prediction
from fintunnel_training.comparison.cases import Case
from fintunnel_training.comparison.judging import Judge
from fintunnel_training.comparison.outcomes import Outcome
from fintunnel_training.comparison.result import Difference, Estimate, FieldName, Measure, MeasureName
from fintunnel_training.evaluation.arrays import Floats

SEEDS = (0, 1, 2)


def case(number: int, impact: int, direction: int = 0, *, hours: float = 6) -> Case:
    at = datetime(2025, 10, 1, tzinfo=UTC) + timedelta(hours=hours * number)
    return Case(NewsRequest(text=f"第{number}条"), at, IMPACTS[impact], DIRECTIONS[direction])


def cases(count: int) -> list[Case]:
    return [case(number, number % 3, number // 3 % 3) for number in range(count)]


def outcome(name: str, guesses: Sequence[int], strength: float = 0.6, field: FieldName = "impact") -> Outcome:
    probabilities: Floats = np.full((len(guesses), 3), (1 - strength) / 2)
    probabilities[np.arange(len(guesses)), list(guesses)] = strength
    made = Outcome(name)
    made.rows[field] = list(range(len(guesses)))
    made.predictions[field] = Prediction(np.eye(3)[list(guesses)], probabilities, probabilities)
    return made


def random_guesses(count: int, seed: int) -> list[int]:
    return [int(guess) for guess in np.random.default_rng(seed).integers(0, 3, count)]


def by_name(measures: Sequence[Measure], name: MeasureName) -> dict[str, Estimate]:
    return next(measure.systems for measure in measures if measure.name == name)


def difference(found: Sequence[Difference], name: MeasureName, against: str = "base") -> Difference:
    return next(each for each in found if each.name == name and each.against == against)


def test_a_model_that_is_right_beats_one_that_guesses() -> None:
    asked = cases(150)
    truth = [number % 3 for number in range(150)]
    judge = Judge(asked, 1000, SEEDS)
    tuned, base = outcome("tuned", truth, 0.9), outcome("base", random_guesses(150, 1))
    measures = judge.measures([base, tuned])
    assert by_name(measures, "macro_f1")["tuned"].value == 1
    assert by_name(measures, "auc")["tuned"].value == 1
    guessed = by_name(measures, "macro_f1")["base"]
    assert guessed.value is not None and guessed.low is not None and guessed.high is not None
    assert guessed.low < guessed.value < guessed.high < 0.6
    found = judge.differences(tuned, base, [])
    names: tuple[MeasureName, ...] = ("macro_f1", "mcc", "accuracy", "auc", "brier")
    for name in names:
        assert difference(found, name).verdict == "better"
    worse = judge.differences(base, tuned, [])
    assert difference(worse, "macro_f1").verdict == difference(worse, "brier").verdict == "worse"


def test_two_models_that_guess_differ_by_nothing_measured() -> None:
    asked = cases(150)
    judge = Judge(asked, 1000, SEEDS)
    found = judge.differences(outcome("tuned", random_guesses(150, 2)), outcome("base", random_guesses(150, 3)), [])
    apart = difference(found, "macro_f1")
    assert apart.verdict == "none" and apart.low is not None and apart.high is not None and apart.low < 0 < apart.high
    assert len(apart.lows) == len(SEEDS)


def test_the_best_baseline_is_the_hardest_to_beat_at_each_measure() -> None:
    asked = cases(150)
    truth = [number % 3 for number in range(150)]
    half_right = [label if number % 2 else (label + 1) % 3 for number, label in enumerate(truth)]
    judge = Judge(asked, 1000, SEEDS)
    bold, careful = outcome("bold", half_right, 0.98), outcome("careful", random_guesses(150, 4), 0.34)
    found = judge.differences(outcome("tuned", random_guesses(150, 5)), None, [bold, careful])
    assert difference(found, "macro_f1", "best_baseline").second == "bold"
    assert difference(found, "brier", "best_baseline").second == "careful"
    assert {each.against for each in found} == {"best_baseline"}


def test_a_difference_is_over_what_both_answered() -> None:
    """The second failed half way: all that it lacks counts for nobody."""
    asked = cases(120)
    truth = [number % 3 for number in range(120)]
    first = outcome("tuned", truth)
    second = outcome("base", truth[:60])
    found = Judge(asked, 1000, SEEDS).differences(first, second, [])
    apart = difference(found, "macro_f1")
    assert (apart.rows, apart.value, apart.verdict) == (60, 0, "none")


def test_few_rows_or_few_days_give_no_interval_and_say_why() -> None:
    few = Judge(cases(20), 1000, SEEDS)
    tuned, base = outcome("tuned", [n % 3 for n in range(20)]), outcome("base", random_guesses(20, 1))
    estimate = by_name(few.measures([tuned]), "macro_f1")["tuned"]
    assert (estimate.value, estimate.low, estimate.why_not) == (
        1,
        None,
        ("只有 20 条，少于 30 条，不给区间", "only 20 rows, fewer than 30: no interval"),
    )
    apart = difference(few.differences(tuned, base, []), "macro_f1")
    assert (
        apart.verdict == "unknown" and apart.low is None and apart.value is not None and "20 条" in str(apart.why_not)
    )
    one_day = Judge([case(number, number % 3, hours=0.1) for number in range(60)], 1000, SEEDS)
    estimate = by_name(one_day.measures([outcome("tuned", [n % 3 for n in range(60)])]), "macro_f1")["tuned"]
    assert estimate.low is None and "天" in str(estimate.why_not)


def test_one_class_alone_gives_no_measure_that_needs_two() -> None:
    asked = [case(number, 1) for number in range(60)]
    judge = Judge(asked, 1000, SEEDS)
    measures = judge.measures([outcome("tuned", [1] * 60)])
    names: tuple[MeasureName, ...] = ("macro_f1", "mcc", "auc")
    for name in names:
        estimate = by_name(measures, name)["tuned"]
        assert estimate.value is None and str(estimate.why_not).startswith("('只出现了一个类别，这项没有意义'")
    assert by_name(measures, "accuracy")["tuned"].value == 1
    assert not any(measure.name == "recall_high" for measure in measures)
    found = judge.differences(outcome("tuned", [1] * 60), outcome("base", [0] * 60), [])
    assert difference(found, "macro_f1").verdict == "unknown"


def test_rows_without_a_time_are_drawn_one_by_one() -> None:
    asked = [Case(NewsRequest(text=f"第{n}条"), impact=IMPACTS[n % 3]) for n in range(60)]
    estimate = by_name(Judge(asked, 1000, SEEDS).measures([outcome("tuned", random_guesses(60, 1))]), "accuracy")
    assert estimate["tuned"].low is not None


def test_reliability_and_confusion_are_of_what_was_guessed() -> None:
    asked = cases(90)
    judge = Judge(asked, 1000, SEEDS)
    guesses = [0] * 90
    sure = outcome("tuned", guesses, 0.9)
    found = judge.reliability(sure, "impact")
    assert found is not None and found.ece == pytest.approx(0.9 - 1 / 3) and sum(found.share) == pytest.approx(1)
    assert found.chance is not None and found.chance[0] < found.chance[1] < 0.2
    confusion = judge.confusion(sure, "impact")
    assert confusion is not None and confusion.counts == [[30, 0, 0]] * 3
    drawn = Outcome("prior")
    drawn.rows["impact"] = list(range(90))
    drawn.predictions["impact"] = Prediction(np.full((90, 3), 1 / 3), np.full((90, 3), 1 / 3), None)
    assert judge.confusion(drawn, "impact") is None  # shares are no counts
    assert "auc" not in [measure.name for measure in judge.measures([drawn])]


def test_report_questions_are_drawn_one_by_one() -> None:
    questions = [
        Case(ReportRequest(question=f"第{n}问？", passages=[Passage(text="a", source="b")])) for n in range(40)
    ]
    tuned, base = Outcome("tuned"), Outcome("base")
    tuned.values["figures_right"] = {each.key: float(n % 4 != 0) for n, each in enumerate(questions)}
    base.values["figures_right"] = {each.key: 0.0 for each in questions}
    judge = Judge(questions, 1000, SEEDS)
    estimate = by_name(judge.measures([tuned]), "figures_right")["tuned"]
    assert estimate.value == 0.75 and estimate.low is not None and 0.55 < estimate.low < 0.75
    assert difference(judge.differences(tuned, base, []), "figures_right").verdict == "better"
