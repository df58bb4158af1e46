"""Markets and databases that several files of tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.dataset.build import Dataset, build_dataset
from fintunnel_training.dataset.options import BuildOptions
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.dataset.sources.records import Market

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
