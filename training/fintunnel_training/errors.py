"""What the training package raises on purpose, all under `TrainingError`."""

from __future__ import annotations

from fintunnel.errors import FinTunnelError

__all__ = ["AdapterError", "BaseModelError", "DataError", "DatabaseError", "OptionError", "TrainingError"]


class TrainingError(FinTunnelError):
    pass


class OptionError(TrainingError):
    """A command's option has a value that makes no sense."""

    exit_status = 2


class DatabaseError(TrainingError):
    """The database cannot be read or lacks what is needed."""


class DataError(TrainingError):
    """An instruction file cannot be used as it is."""


class BaseModelError(TrainingError):
    """The base model is missing, is not a causal LM, or its tokenizer is damaged."""


class AdapterError(TrainingError):
    """An adapter folder is incomplete, altered, or made for something else."""

    exit_status = 2
