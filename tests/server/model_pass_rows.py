"""What a pass is fed with, and how its results are compared."""

from __future__ import annotations

import random
from typing import Any

import torch
from fintunnel_server.inference.model_pass import ModelPass, Segment, chain

from tests.server.tiny_model import VOCABULARY


def some_tokens(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(1, VOCABULARY), k=count)


def fed(row: int, start: int, tokens: list[int], adapter: int = -1) -> Segment:
    return Segment(row, start, adapter, tokens, chain(len(tokens)), {}, written=True)


def take(model: ModelPass, tokens: int = 64) -> int:
    row = model.cache.take(tokens)
    assert row is not None
    return row


def close(ours: Any, theirs: Any) -> bool:
    return bool(torch.allclose(ours, theirs, atol=1e-4))
