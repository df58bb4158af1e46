from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fintunnel_training.calibration.calibration_file import (
    EPSILON,
    apply,
)
from fintunnel_training.calibration.fields import fit_field
from fintunnel_training.calibration.scaling import Scaling, fit_scaling, fold_stretches, out_of_fold, scale
from fintunnel_training.evaluation.reliability import measure

from tests.training.calibration_rows import THREE, fit

DISTORTION = Scaling(2.0, np.array([0.5, -0.2, -0.3]))


def drawn(rows: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """True probabilities, labels drawn from them, and 25 days."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet([1.0, 1.0, 1.0], rows)
    labels = np.array([rng.choice(3, p=row) for row in true])
    return true, labels, np.sort(rng.integers(0, 25, rows))


def distorted(true: Any) -> Any:
    """What a model would say whose answers `DISTORTION` makes true again: p = softmax(T (log q - b))."""
    scores = DISTORTION.temperature * (np.log(true) - DISTORTION.biases)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


# --- the fit ----------------------------------------------------------------------------------------


def test_a_known_distortion_is_recovered() -> None:
    true, labels, _ = drawn(6000)
    found = fit_scaling(distorted(true), labels)
    assert found.temperature == pytest.approx(DISTORTION.temperature, rel=0.06)
    assert found.biases == pytest.approx(DISTORTION.biases, abs=0.06)
    assert float(found.biases.sum()) == pytest.approx(0, abs=1e-9)


def test_the_fit_is_the_minimum_that_it_claims() -> None:
    """No gradient of its own making: any small step away from it makes the penalised likelihood worse."""
    true, labels, _ = drawn(200)
    raw = distorted(true)
    found = fit_scaling(raw, labels)

    def objective(parameters: Any) -> float:
        log_temperature, biases = parameters[0], parameters[1:]
        nll = measure(scale(raw, Scaling(math.exp(log_temperature), biases)), labels).nll
        return nll + 5.0 * float(parameters @ parameters) / len(labels)

    at = np.array([math.log(found.temperature), *found.biases])
    for step in np.concatenate([np.eye(4), -np.eye(4)]) * 1e-3:
        assert objective(at + step) > objective(at)


def test_few_rows_give_nearly_the_identity() -> None:
    found = fit_scaling(np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]]), np.array([2, 0, 0]))
    assert found.temperature == pytest.approx(1, abs=0.3)
    assert np.abs(found.biases).max() < 0.25


def test_probabilities_that_are_right_stay_nearly_as_they_are() -> None:
    true, labels, _ = drawn(6000)
    found = fit_scaling(true, labels)
    assert found.temperature == pytest.approx(1, abs=0.06) and np.abs(found.biases).max() < 0.06


def test_what_gains_nothing_on_other_days_is_not_applied() -> None:
    """The two classes trade places from day to day: what one day teaches is wrong on the next."""
    days = np.repeat(np.arange(10), 20)
    labels = np.where(days < 5, 0, 1)
    judged = fit_field(np.tile([0.5, 0.5], (200, 1)), labels, days, ("true", "false"))
    assert judged.fit.is_identity and judged.fit.biases == {"true": 0, "false": 0}
    assert judged.fit.nll_after == judged.fit.nll_before == pytest.approx(math.log(2), abs=1e-6)


def test_the_gain_is_measured_on_days_that_were_not_fitted() -> None:
    true, labels, days = drawn(600)
    judged = fit_field(distorted(true), labels, days, THREE)
    assert not judged.fit.is_identity and judged.fit.nll_after < judged.fit.nll_before - 0.05
    assert judged.fit.ece_after < judged.fit.ece_before and judged.fit.brier_after < judged.fit.brier_before
    in_sample = measure(scale(judged.raw, fit_scaling(judged.raw, labels)), labels).nll
    assert judged.fit.nll_after > in_sample
    assert judged.fit.nll_after == round(measure(out_of_fold(judged.raw, labels, days), labels).nll, 6)


def test_no_day_is_on_both_sides_of_a_fold() -> None:
    days = np.array([738000, 738000, 738003, 738001, 738009, 738001, 738009, 738020, 738031])
    stretches = fold_stretches(days)
    assert len(stretches) == 5
    flat = [day for stretch in stretches for day in stretch]
    assert flat == sorted(set(days.tolist()))
    true, labels, _ = drawn(9)
    # Another label on a day changes nothing about how that day itself is scaled.
    other = labels.copy()
    other[:2] = (labels[:2] + 1) % 3
    scaled, rescaled = out_of_fold(true, labels, days), out_of_fold(true, other, days)
    assert np.array_equal(scaled[:2], rescaled[:2]) and not np.allclose(scaled[2:], rescaled[2:])


def test_zero_probabilities_cost_what_the_smallest_costs() -> None:
    judged = measure(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert judged.nll == pytest.approx(-math.log(EPSILON) / 2)
    assert judged.brier == pytest.approx(1) and judged.ece == pytest.approx(0.5)


# --- the file ---------------------------------------------------------------------------------------


def test_applied_probabilities_sum_to_one_and_agree_with_the_fit() -> None:
    raw = {"low": 0.0, "medium": 0.7, "high": 0.3}
    biases = {"low": 0.4, "medium": -0.5, "high": 0.1}
    applied = apply(raw, fit(0.5, biases))
    assert sum(applied.values()) == pytest.approx(1, abs=1e-12) and all(0 <= p <= 1 for p in applied.values())
    array = scale(np.array([list(raw.values())]), Scaling(0.5, np.array(list(biases.values()))))
    assert list(applied.values()) == pytest.approx(array[0].tolist())


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_a_temperature_alone_keeps_the_order(temperature: float) -> None:
    applied = apply({"low": 0.2, "medium": 0.5, "high": 0.3}, fit(temperature))
    assert sorted(applied, key=applied.__getitem__) == ["low", "high", "medium"]
    if temperature == 1:
        assert applied == pytest.approx({"low": 0.2, "medium": 0.5, "high": 0.3})


def test_a_class_without_a_bias_is_an_error() -> None:
    with pytest.raises(KeyError):
        apply({"low": 0.5, "extreme": 0.5}, fit())


def test_a_fit_whose_biases_do_not_sum_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 0"):
        fit(biases={"low": 0.5, "medium": 0.0, "high": 0.0})
