"""The text that a model wrote, and who wrote it."""

from __future__ import annotations

from typing import Any, Self

from fintunnel.settings import Backend
from fintunnel.wire import Usage

__all__ = ["Completion"]


class Completion(str):
    """A string, with where it came from.

    Attributes:
        backend: who answered.
        model: the model's name, as that backend calls it.
        usage: token counts; 0 where the backend did not count.
        fallback: the backend that the client was made for had failed, and another was asked.
        truncated: the answer ended at `max_tokens`, not by itself.
    """

    backend: Backend
    model: str
    usage: Usage
    fallback: bool
    truncated: bool

    def __new__(
        cls,
        text: str,
        *,
        backend: Backend,
        model: str,
        usage: Usage,
        fallback: bool = False,
        truncated: bool = False,
    ) -> Self:
        made = super().__new__(cls, text)
        made.backend, made.model, made.usage = backend, model, usage
        made.fallback, made.truncated = fallback, truncated
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """For copies and pickles, which an agent's history may be."""
        names = ("backend", "model", "usage", "fallback", "truncated")
        return (str(self),), {name: getattr(self, name) for name in names}
