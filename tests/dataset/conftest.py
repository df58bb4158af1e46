"""Markets, databases and files of rows that several files of tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.dataset.build import Dataset, build_dataset
from fintunnel_training.dataset.options import BuildOptions
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.dataset.sources.records import Market

from tests.dataset.look_runs import news, release, write
from tests.dataset.markets import make_database


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return read_database(make_database(tmp_path_factory.mktemp("dense") / "m.db", days=6, events=400))


@pytest.fixture(scope="session")
def built(market: Market) -> Dataset:
    return build_dataset(market, BuildOptions(100, seed=7))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make_database(tmp_path / "m.db", days=1, events=6)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    classes = [("low", "neutral"), ("medium", "bullish"), ("high", "bearish")]
    train = [news(n, impact=classes[n % 3][0], direction=classes[n % 3][1]) for n in range(30)]
    context = {"pre_return": 0.001, "volatility": 0.002, "typical_move": 0.001}
    train[0] = news(0, request={"context": context})
    train.append({**news(3), "meta": news(3)["meta"] | {"kind": "market", "style": "market_prose"}})
    write(tmp_path / "x.val.jsonl", [news(n, split="val", impact="high") for n in range(40, 50)])
    write(tmp_path / "x.test.jsonl", [release(n, 2.0 + n / 10, 2.5, 5 - n) for n in range(50, 55)])
    return write(tmp_path / "x.jsonl", train)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Another tool's rows, with things in them that a terminal would obey."""
    rows = [
        {
            "instruction": "把[red]句子[/red]译成英文\x1b[31m",
            "input": "\x9b2J你好\x07:smile:",
            "output": "a \x1b]0;t\x07",
        },
        {"instruction": "算", "output": "2", "meta": {"kind": "[red]a\x1b[1m", "style": 7, "event_id": ["x"]}},
    ]
    return write(tmp_path / "foreign.jsonl", rows, bad='{bad\n[1]\n{"instruction":1,"output":"x"}\n\n')
