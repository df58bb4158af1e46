"""How to come by the same report again: the commands and the versions."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fintunnel_training.comparison.answers import StoredSystem

__all__ = ["commands", "source_name", "versions"]

_NAMES = ("fintunnel", "torch", "transformers", "peft", "bitsandbytes", "scikit-learn", "numpy")
_DATASET = {
    "--ticker": "ticker",
    "--window": "horizon_min",
    "--num-samples": "num_samples",
    "--seed": "seed",
    "--balance": "balance",
    "--test-from": "test_from",
    "--since": "since",
    "--until": "until",
}
_TRAINING = ("preset", "epochs", "max_steps", "batch_size", "accumulation", "learning_rate", "max_length", "targets",
             "lora_r", "lora_alpha", "lora_dropout", "seed")  # fmt: skip


def commands(
    card: Mapping[str, Any] | None, training: Path | None, systems: Sequence[StoredSystem], typed: Sequence[str]
) -> list[str]:
    """Oldest first, as far as card and adapters tell them; `typed`: the comparison's own."""
    data = "X.jsonl" if training is None else training.name if training.is_absolute() else str(training)
    lines = []
    if card is not None and "num_samples" in card:
        options = {flag: card.get(name) for flag, name in _DATASET.items()}
        words = ["fintunnel", "dataset", "build", "--db", source_name(card), "--out", data]
        lines.append(_line(words, options))
    for system in systems:
        if system.training is not None and system.training.info is not None:
            given = system.training.info.get("options", {})
            options = {f"--{name.replace('_', '-')}": given.get(name) for name in _TRAINING}
            # An upstream's address is no base.
            base = system.training.info.get("base") if "://" in system.model else system.model
            words = ["fintunnel", "train", "--data", data, "--base", str(base), "--out", system.training.folder]
            lines.append(_line(words, options))
            if system.training.calibration is not None:
                lines.append(_line(["fintunnel", "calibrate", "--adapter", system.training.folder, "--data", data], {}))
    return [*lines, *([_quoted(typed)] if typed else [])]


def source_name(card: Mapping[str, Any]) -> str:
    """The database's file without the folders that it lay in, which are nobody else's business; an address as it is (a
    card holds none with a password)."""
    source = str(card.get("source"))
    return source if "://" in source else re.split(r"[\\/]", source)[-1]


def _line(words: Sequence[str], options: Mapping[str, Any]) -> str:
    given = (word for flag, value in options.items() if value is not None for word in (flag, str(value)))
    return _quoted([*words, *given])


def _quoted(words: Sequence[str]) -> str:
    """As the shell of this system takes it."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def versions() -> dict[str, str]:
    """Of Python and of what decides the figures."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
