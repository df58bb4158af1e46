"""The one thing that the dataset's commands take from the model libraries: a base's tokenizer, to count with."""

from __future__ import annotations

from typing import Any

from fintunnel_training.errors import OptionError

__all__ = ["open_tokenizer"]


def open_tokenizer(base: str) -> tuple[Any, str]:
    """The tokenizer of `base`, without its weights, and the base's id.

    Raises:
        OptionError: the model libraries are not installed.
        BaseModelError: no such base.
    """
    try:
        from fintunnel_training.base import load_tokenizer, resolve_base

        resolved = resolve_base(base)
        return load_tokenizer(resolved), resolved.id
    except ModuleNotFoundError as error:
        raise OptionError(
            f'数 token 还需要 {error.name}。请运行：python -m pip install "fintunnel[training]"，或去掉 --base。'
        ) from error
