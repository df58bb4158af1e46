"""Probabilities are corrected by an adapter's `calibration.json`, and the labels with them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fintunnel.wire import NewsAnalysis
from fintunnel_training.calibration.calibration_file import Calibration, FieldFit

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp

NEWS = {"task": "news", "text": "美联储宣布加息25个基点"}
CONTEXT = {"pre_return": 0.001, "volatility": 0.003, "typical_move": 0.0005}


def fit(temperature: float, **biases: float) -> FieldFit:
    zero: dict[str, Any] = dict.fromkeys(
        ("nll_before", "nll_after", "brier_before", "brier_after", "ece_before", "ece_after"), 0.0
    )
    return FieldFit(temperature=temperature, biases=biases, rows=30, **zero)


@pytest.fixture
def calibrated(engine: InstantEngine) -> InstantEngine:
    engine.calibration = Calibration(
        adapter="0" * 64,
        data_sha256="0" * 64,
        rows=30,
        quantization="nf4",
        fields={
            "impact": {"without_context": fit(2.0, low=1.0, medium=-0.5, high=-0.5)},
            "direction": {"without_context": fit(1.0, bearish=0.0, neutral=0.0, bullish=0.0)},
            "priced_in": {"with_context": fit(1.0, true=math.log(3) / 2, false=-math.log(3) / 2)},
        },
    )
    return engine


def ask(app: LiveApp, **more: object) -> NewsAnalysis:
    return NewsAnalysis.model_validate(app.post("/analyze", json=NEWS | more).json())


def test_probabilities_are_corrected_and_the_label_follows(live_app: LiveApp, calibrated: InstantEngine) -> None:
    calibrated.weights = {"low": 4.0, "medium": 1.0, "high": 9.0}
    given = ask(live_app)
    weights = {"low": 2 * math.exp(1), "medium": math.exp(-0.5), "high": 3 * math.exp(-0.5)}
    assert given.calibrated and given.impact == "low"
    assert given.impact_probs == pytest.approx({k: v / sum(weights.values()) for k, v in weights.items()})
    # The text goes on from the label that is told.
    assert calibrated.calls[-1][0].startswith('{"impact":"low"')


def test_each_condition_has_its_own(live_app: LiveApp, calibrated: InstantEngine) -> None:
    calibrated.weights = {"low": 1.0, "medium": 1.0, "high": 2.0}
    given = ask(live_app, context=CONTEXT)
    assert given.impact_probs == pytest.approx({"low": 0.25, "medium": 0.25, "high": 0.5})
    assert given.signal_probs == pytest.approx({"priced_in": 0.75, "wait_and_see": 0.5})
    assert given.signals == ["priced_in"]


def test_the_base_has_none(live_app: LiveApp, calibrated: InstantEngine) -> None:
    calibrated.weights = {"low": 1.0, "medium": 1.0, "high": 2.0}
    given = ask(live_app, adapter="base")
    assert not given.calibrated and given.impact == "high"


def test_what_has_no_probabilities_is_not_calibrated(live_app: LiveApp, calibrated: InstantEngine) -> None:
    calibrated.probabilities = False
    given = ask(live_app, context=CONTEXT)
    assert not given.calibrated and given.impact_probs is None and given.signal_probs is None
    assert given.signals is not None
