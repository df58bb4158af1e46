"""How to come by the same report again: the commands and the versions."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fintunnel_training.comparison.answers import StoredSystem

__all__ = ["commands", "source_name", "versions"]

_NAMES = ("fintunnel", "torch", "transformers", "peft", "bitsandbytes", "scikit-learn", "numpy")
_DATASET = {"--num-samples": "num_samples", "--seed": "seed", "--balance": "balance", "--test-from": "test_from",
            "--since": "since", "--until": "until"}  # fmt: skip
_TRAINING = ("preset", "epochs", "max_steps", "batch_size", "accumulation", "learning_rate", "max_length", "targets",
             "lora_r", "lora_alpha", "lora_dropout", "seed")  # fmt: skip


def commands(
    card: Mapping[str, Any] | None, training: Path | None, systems: Sequence[StoredSystem], typed: Sequence[str]
) -> list[str]:
    """Oldest first, as far as card and adapters tell them; `typed`: the comparison's own."""
    data = training.name if training is not None else "X.jsonl"
    lines = []
    if card is not None and "num_samples" in card:
        options = {flag: card.get(name) for flag, name in _DATASET.items()}
        words = ["fintunnel", "dataset", "build", "--db", source_name(card), "--out", data]
        lines.append(_line(words, options))
    for system in systems:
        if system.training is not None and system.training.info is not None:
            given = system.training.info.get("options", {})
            options = {f"--{name.replace('_', '-')}": given.get(name) for name in _TRAINING}
            words = ["fintunnel", "train", "--data", data, "--base", system.model, "--out", system.training.folder]
            lines.append(_line(words, options))
    return [*lines, *([shlex.join(typed)] if typed else [])]


def source_name(card: Mapping[str, Any]) -> str:
    """The database's file without the folders that it lay in, which are nobody else's business; an address as it is (a
    card holds none with a password)."""
    source = str(card.get("source"))
    return source if "://" in source else re.split(r"[\\/]", source)[-1]


def _line(words: Sequence[str], options: Mapping[str, Any]) -> str:
    return shlex.join(
        [*words, *(word for flag, value in options.items() if value is not None for word in (flag, str(value)))]
    )


def versions() -> dict[str, str]:
    """Of Python and of what decides the figures."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
