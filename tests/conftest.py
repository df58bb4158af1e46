from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fintunnel_training.dataset.sources.sample_database import build_sample_database

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

_SHARED_DATABASE = Path(__file__).parents[2] / "shared" / "data" / "finance_analysis.db"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first: of two workers neither is left alone with it at the end. Of that, first the files
    that need no adapter: both workers would begin with one of the others, and one of them wait for it to be trained."""
    with_adapter = {item.path for item in items if "adapter" in getattr(item, "fixturenames", ())}

    def turn(item: pytest.Item) -> int:
        if item.get_closest_marker("e2e") is None:
            return 2
        return 1 if item.path in with_adapter else 0

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the developer's shell and folder hold must not decide a test."""
    for name in list(os.environ):
        if name.startswith(("FINTUNNEL_", "DEEPSEEK_", "NGROK_")) and name not in ("FINTUNNEL_CACHE",):
            monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # An API key may be kept there; matplotlib makes a folder in it.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def sample_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample.db"
    build_sample_database(path)
    return path


@pytest.fixture(scope="session")
def shared_database() -> Path:
    """A user's real database, where one lies beside the checkout."""
    if not _SHARED_DATABASE.is_file():
        pytest.skip("no real database beside the checkout")
    return _SHARED_DATABASE


@pytest.fixture
def engine() -> InstantEngine:
    return InstantEngine()


@pytest.fixture
def live_app(engine: InstantEngine) -> Iterator[LiveApp]:
    """The real app on a real uvicorn on loopback; only the engine is instant."""
    with run_app(engine, api_key="right-key") as app:
        yield app
