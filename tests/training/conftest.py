from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fintunnel_training.comparison.cases import CaseFile, read_cases

from tests.client.deepseek_stand_in import KEY, DeepSeekStandIn, deepseek_stand_in
from tests.training.calibration_rows import EDGES, write_rows
from tests.training.comparison_rows import write_splits
from tests.training.finished_adapter import BASE, bare_adapter


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


# --- an adapter to be calibrated, its rows, and the key of the server that serves it ---


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    base = BASE.model_copy(update={"source": "embedded", "weights_sha256": None})
    return bare_adapter(tmp_path / "tuned", base, EDGES)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")


# --- a comparison: its splits, and the hosted API ---


@pytest.fixture
def training(tmp_path: Path) -> Path:
    return write_splits(tmp_path)


@pytest.fixture
def cases(training: Path) -> CaseFile:
    return read_cases(training.with_name("i.test.jsonl"))


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeepSeekStandIn]:
    with deepseek_stand_in() as state:
        monkeypatch.setenv("DEEPSEEK_BASE_URL", state.url)
        monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
        yield state
