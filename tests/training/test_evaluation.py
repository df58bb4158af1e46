from __future__ import annotations

import numpy as np
import pytest
from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.bootstrap import Resampling, Statistic, block_numbers
from fintunnel_training.evaluation.label_statistics import (
    binary_auc,
    brier,
    calibration_error,
    calibration_error_by_chance,
    mean_auc,
    mean_of,
    of_pairs,
    pair_counts,
)
from fintunnel_training.evaluation.measures import accuracy, macro_f1, matthews, recalls, roc_auc
from fintunnel_training.evaluation.reliability import measure, reliability
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, recall_score, roc_auc_score

ROWS = 200


@pytest.fixture(params=range(5))
def judged(request: pytest.FixtureRequest) -> tuple[Ints, Floats, Ints]:
    """Truth, probabilities with ties, and the day of each row."""
    draws = np.random.default_rng(request.param)
    truth = draws.integers(0, 3, ROWS)
    weights = draws.integers(1, 6, (ROWS, 3)) + 2.0 * np.eye(3)[truth]
    return truth, weights / weights.sum(1, keepdims=True), draws.integers(0, 12, ROWS)


def test_measures_are_scikit_learns(judged: tuple[Ints, Floats, Ints]) -> None:
    truth, probabilities, days = judged
    guess = probabilities.argmax(1)
    counts = pair_counts(truth, np.eye(3)[guess], days)
    assert of_pairs(counts, macro_f1).value == pytest.approx(f1_score(truth, guess, average="macro"))
    assert of_pairs(counts, matthews).value == pytest.approx(matthews_corrcoef(truth, guess))
    assert of_pairs(counts, accuracy).value == pytest.approx(accuracy_score(truth, guess))
    assert recalls(counts.sum(0)) == pytest.approx(recall_score(truth, guess, average=None))
    high = truth == 2
    assert binary_auc(high, probabilities[:, 2], days).value == pytest.approx(roc_auc_score(high, probabilities[:, 2]))
    one_against_the_rest = mean_auc([truth == c for c in range(3)], list(probabilities.T), days)
    assert one_against_the_rest.value == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"))


def test_a_resample_is_what_scikit_learn_says_of_rows_counted_so_often(judged: tuple[Ints, Floats, Ints]) -> None:
    truth, probabilities, days = judged
    guess, blocks = probabilities.argmax(1), block_numbers(days)
    draws = np.random.default_rng(9).multinomial(12, np.full(12, 1 / 12), size=3).astype(float)
    f1 = of_pairs(pair_counts(truth, np.eye(3)[guess], blocks), macro_f1).of_draws(draws)
    area = binary_auc(truth == 1, probabilities[:, 1], blocks).of_draws(draws)
    error = brier(truth, probabilities, blocks).of_draws(draws)
    for number, draw in enumerate(draws):
        weights = draw[blocks]
        assert f1[number] == pytest.approx(
            f1_score(truth, guess, average="macro", sample_weight=weights, labels=[0, 1, 2], zero_division=0)
        )
        assert area[number] == pytest.approx(roc_auc_score(truth == 1, probabilities[:, 1], sample_weight=weights))
        squares = ((probabilities - np.eye(3)[truth]) ** 2).sum(1)
        assert error[number] == pytest.approx(np.average(squares, weights=weights))


def test_the_calibration_error_is_the_one_that_calibration_minimises(judged: tuple[Ints, Floats, Ints]) -> None:
    truth, probabilities, days = judged
    assert calibration_error(truth, probabilities, days).value == pytest.approx(measure(probabilities, truth).ece)
    assert brier(truth, probabilities, days).value == pytest.approx(measure(probabilities, truth).brier)


def test_one_confidence_is_one_bin_whatever_the_order_of_the_rows() -> None:
    """A constant guess, right for 45 % of the rows: by how much it is off does not depend on which rows come first."""
    probabilities = np.tile([0.5, 0.3, 0.2], (200, 1))
    days = np.zeros(200, dtype=np.int64)
    for truth in (np.array([0] * 90 + [1] * 110), np.array([0, 1] * 90 + [1] * 20)):
        assert calibration_error(truth, probabilities, days).value == pytest.approx(0.05)
        confidence, right, share = reliability(probabilities, truth)
        assert (confidence.tolist(), right.tolist(), share.tolist()) == ([0.5], [0.45], [1.0])


def test_perfect_probabilities_err_as_much_as_chance_says() -> None:
    draws = np.random.default_rng(3)
    probabilities = draws.dirichlet((3, 2, 1), 700)
    errors = []
    for _ in range(200):
        truth = (draws.random((700, 1)) > probabilities.cumsum(1)).sum(1).clip(max=2)
        errors.append(calibration_error(truth, probabilities, np.zeros(700, dtype=np.int64)).value)
    mean, most = calibration_error_by_chance(truth, probabilities, 0)
    assert np.mean(errors) == pytest.approx(mean, rel=0.08)
    assert np.mean(np.array(errors) <= most) == pytest.approx(0.95, abs=0.04)


def test_weights_give_scikit_learns_f1_and_auc() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        truth, guess = draws.integers(0, 3, 50), draws.integers(0, 3, 50)
        weights = draws.integers(0, 4, 50).astype(float)
        pairs = np.zeros((3, 3))
        np.add.at(pairs, (truth, guess), weights)
        assert matthews(pairs) == pytest.approx(matthews_corrcoef(truth, guess, sample_weight=weights))
        scores, true = draws.integers(0, 10, 50), truth == 1  # with ties
        positive, negative = (np.bincount(scores, weights * side, minlength=10).astype(float) for side in (true, ~true))
        assert roc_auc(positive, negative) == pytest.approx(roc_auc_score(true, scores, sample_weight=weights))


def test_what_has_no_meaning_is_no_number() -> None:
    one_class = np.zeros(40, dtype=np.int64)
    days = np.arange(40) // 4
    always_first = of_pairs(pair_counts(one_class, np.eye(3)[one_class], days), matthews)
    assert np.isnan(always_first.value)
    area = binary_auc(one_class == 1, np.linspace(0, 1, 40), days)
    assert np.isnan(area.value) and Resampling(10).interval(area) is None
    varied = np.arange(40) % 2
    assert of_pairs(pair_counts(varied, np.eye(3)[one_class], days), matthews).value == 0  # one guess for everything
    assert np.isnan(recalls(pair_counts(varied, np.eye(3)[varied], days).sum(0))[2])  # a class that is not there


def test_the_bootstrap_draws_whole_days() -> None:
    """Ten copies of each day's one value: the interval is as wide as for one event a day, not ten times surer."""
    value = np.random.default_rng(1).normal(0, 1, 30)
    interval = Resampling(30, 1000).interval(mean_of(np.repeat(value, 10), np.repeat(np.arange(30), 10)))
    assert interval is not None
    expected = 1.96 * value.std() / np.sqrt(30)
    assert (interval.high - interval.low) / 2 == pytest.approx(expected, rel=0.15)
    assert interval.low < value.mean() < interval.high


def test_a_difference_is_paired() -> None:
    """A good day for one is a good day for the other: their difference is far surer than either of them."""
    draws = np.random.default_rng(2)
    days = np.repeat(np.arange(40), 5)
    shared = np.repeat(draws.normal(0, 1, 40), 5)
    first, second = mean_of(shared + 0.2, days), mean_of(shared + draws.normal(0, 0.1, 200), days)
    resampling = Resampling(40, 1000, seeds=(0, 1, 2))
    difference, alone = resampling.interval(first, second), resampling.interval(first)
    assert difference is not None and alone is not None
    assert difference.side() == 1 and alone.side() == 0
    assert difference.high - difference.low < (alone.high - alone.low) / 5
    assert len(difference.lows) == 3 and len(set(difference.lows)) == 3
    opposite = resampling.interval(second, first)
    assert opposite is not None and opposite.side() == -1


def test_one_seed_that_holds_zero_is_enough_for_no_gain() -> None:
    values = np.random.default_rng(4).normal(0.3, 1, 60)
    statistic = Statistic(np.stack([values, np.ones(60)], axis=1), lambda sums: sums[..., 0] / sums[..., 1])
    sides = [Resampling(60, 200, (seed,)).interval(statistic) for seed in range(40)]
    singly = {interval.side() for interval in sides if interval is not None}
    assert singly == {0, 1}  # near the edge, so that seeds disagree
    together = Resampling(60, 200, tuple(range(40))).interval(statistic)
    assert together is not None and together.side() == 0
