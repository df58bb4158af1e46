"""Tiny models and a scheduler that several files of tests ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most files of this folder need no torch
    from fintunnel_server.inference.model_pass import ModelPass
    from fintunnel_server.inference.scheduler import Scheduler


@pytest.fixture
def model() -> ModelPass:
    return _model_pass(max_rows=8, max_cache_bytes=2**22)


@pytest.fixture
def small_model() -> ModelPass:
    """With two rows: a third conversation waits."""
    return _model_pass(max_rows=2, max_cache_bytes=2**20)


def _model_pass(*, max_rows: int, max_cache_bytes: int) -> ModelPass:
    from fintunnel_server.inference.model_pass import ModelPass

    from tests.server.tiny_model import tiny_base

    return ModelPass(tiny_base(), max_rows=max_rows, max_cache_bytes=max_cache_bytes)


@pytest.fixture
def scheduler(small_model: ModelPass) -> Iterator[Scheduler]:
    from fintunnel_server.inference.scheduler import Scheduler

    scheduler = Scheduler(lambda: small_model, max_pass_tokens=256, max_waiting=3)
    yield scheduler
    scheduler.close()
