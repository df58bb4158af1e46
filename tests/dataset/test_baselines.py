from __future__ import annotations

import random

from fintunnel.wire import Context
from fintunnel_training.dataset.baselines import measure_baselines
from fintunnel_training.dataset.labels import LabelledEvent, compute_edges
from fintunnel_training.dataset.sources.records import Event


def events(count: int, *, first_day: int, informative: bool, seed: int) -> list[LabelledEvent]:
    rng = random.Random(seed)
    made = []
    for n in range(count):
        reaction = rng.gauss(0, 1)
        good = reaction > 0 if informative else rng.random() < 0.5
        text = f"消息{rng.choice('甲乙丙丁戊己')}：{'需求旺盛供不应求' if good else '库存积压买家观望'}"
        context = Context(pre_return=0.001, volatility=abs(reaction) / 100 + 0.001, typical_move=0.001)
        event = Event(f"{seed}-{n}", "flash", (first_day + n // 10) * 1440, text, None, None)
        made.append(LabelledEvent(event, reaction / 1000, reaction, context))
    return made


def test_baselines_find_what_is_there_and_nothing_else() -> None:
    for informative in (True, False):
        parts = {
            "train": events(600, first_day=20000, informative=informative, seed=1),
            "val": [],
            "test": events(300, first_day=20100, informative=informative, seed=2),
        }
        figures = measure_baselines(parts, compute_edges(parts["train"]))
        assert figures is not None and figures["test_events"] == 300 and figures["test_days"] == 30
        text = figures["direction"]["tfidf_linear_svc"]
        assert (text["value"] > 0.5) == informative
        assert text["interval"][0] < text["value"] < text["interval"][1]
        assert figures["impact"]["logistic_regression_high"]["value"] > 0.95  # volatility tells it here
        assert figures["direction"]["majority"]["value"] < 0.25


def test_too_few_events_give_no_figures() -> None:
    parts = {"train": events(100, first_day=1, informative=True, seed=1), "val": [], "test": []}
    assert measure_baselines(parts, compute_edges(parts["train"])) is None
