"""A hundred headlines, tuned and base, in 4 and in 16 bits: minutes, so only in `run.py test --all`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fintunnel.wire import NewsAnalysis
from fintunnel_server.loading import load_local_engine
from fintunnel_training.base import Quantization
from fintunnel_training.dataset.sources.database import read_database

from tests.e2e.plain_reference import PlainReference, largest_gap, most_likely, requests
from tests.e2e.test_local_engine import BF16, at_once, labels_only

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_a_hundred_headlines_get_the_same_labels(
    adapter: Path, sample_database: Path, quantization: Quantization, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [event.text for event in read_database(sample_database).events if len(event.text) < 80]
    asked = labels_only(list(requests(texts[:: len(texts) // 100][:100])))
    assert len(asked) == 200
    engine = load_local_engine("embedded", {"tuned": adapter}, quantization=quantization)
    try:
        together = [*at_once(engine, asked[:64]), *at_once(engine, asked[64:128]), *at_once(engine, asked[128:])]
        alone = [at_once(engine, [one])[0] for one in asked]
    finally:
        engine.stop()
    assert [labels(given) for given in together] == [labels(given) for given in alone]
    reference = PlainReference(adapter, quantization)
    gaps, close_calls = [], 0
    for given, (request, name) in zip(together, asked, strict=True):
        expected = reference.labels(request, name)
        gap = max(
            largest_gap(given.impact_probs, expected.impact), largest_gap(given.direction_probs, expected.direction)
        )
        gaps.append(gap)
        for ours, theirs in ((given.impact, expected.impact), (given.direction, expected.direction)):
            if ours != most_likely(theirs):
                close_calls += 1
                best, second, *_ = sorted(theirs.values(), reverse=True)
                assert best - second < 2 * BF16  # it was a tie as far as 16 bits can tell
    with capsys.disabled():
        worst, mean = max(gaps), sum(gaps) / len(gaps)
        sys.stdout.write(
            f"{quantization}: gap {worst:.3f} at most, {mean:.4f} mean; {close_calls} of 400 labels differ\n"
        )
    assert max(gaps) < BF16 and close_calls <= 12


def labels(given: NewsAnalysis) -> tuple[str, str, tuple[str, ...] | None]:
    return given.impact, given.direction, None if given.signals is None else tuple(given.signals)
