"""Probabilities of an answer's allowed values from an upstream's likeliest next tokens. Pure but for `next_tokens`.

The tokens are compared as strings, because the upstream's tokenizer is unknown: a token supports the choices that
begin with it, or that it begins with. For each choice its longest token counts, which is the one that tokenizers
make of it and training used (`high`, not `h`). Shares are renormalised over these at each branch; where a token
stands for several choices, the upstream is asked again after it. A choice without a token among the likeliest gets 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from fintunnel_server.engine import Field
from fintunnel_server.upstream.replies import TopToken

__all__ = ["NextTokens", "at_token_boundary", "gather", "score_field"]

NextTokens = Callable[[str], Awaitable[Sequence[TopToken]]]
_T = TypeVar("_T")
_LEAST_SHARE = 1e-3  # a branch that holds less of the answer is not asked about


async def score_field(field: Field, next_tokens: NextTokens) -> dict[str, float] | None:
    """The choices' probabilities, which add up to 1.

    Args:
        next_tokens: the likeliest tokens after a beginning of the answer.

    Returns:
        None where no choice is among the likeliest tokens.

    Raises:
        ValueError: one choice is the beginning of another.
    """
    texts = sorted(field.choices.values())
    if any(following.startswith(text) for text, following in zip(texts, texts[1:], strict=False)):
        raise ValueError("one choice is the beginning of another")
    begun = at_token_boundary(field)
    shares = await _walk(begun.prefix, begun.choices, next_tokens, 1.0)
    return None if shares is None else {label: shares.get(label, 0.0) for label in field.choices}


async def _walk(
    prefix: str, choices: Mapping[str, str], next_tokens: NextTokens, share: float
) -> dict[str, float] | None:
    if len(choices) == 1:
        return dict.fromkeys(choices, 1.0)
    branches = _branches(choices, await next_tokens(prefix))
    total = sum(token.probability for token, _ in branches)
    worth_asking = [
        (token, supported)
        for token, supported in branches
        if len(supported) == 1 or share * token.probability / total >= _LEAST_SHARE
    ]
    below = await gather(
        *(
            _walk(
                prefix + token.text,
                {label: rest[len(token.text) :] for label, rest in supported.items()},
                next_tokens,
                share * token.probability / total,
            )
            for token, supported in worth_asking
        )
    )
    weights: dict[str, float] = {}
    for (token, _), shares in zip(worth_asking, below, strict=True):
        for label, part in (shares or {}).items():
            weights[label] = weights.get(label, 0.0) + token.probability * part
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()} if total > 0 else None


def _branches(choices: Mapping[str, str], tokens: Sequence[TopToken]) -> list[tuple[TopToken, dict[str, str]]]:
    """The tokens that stand for a choice, each with its choices. Of tokens with the same text the likelier counts."""
    longest: dict[str, TopToken] = {}
    for token in sorted(tokens, key=lambda token: (len(token.text), token.probability)):
        if token.text and token.probability > 0:  # an end token is shown as an empty text
            for label, rest in choices.items():
                if rest.startswith(token.text) or token.text.startswith(rest):
                    longest[label] = token
    branches: dict[TopToken, dict[str, str]] = {}
    for label, token in longest.items():
        branches.setdefault(token, {})[label] = choices[label]
    return list(branches.items())


def at_token_boundary(field: Field) -> Field:
    """The same field, begun earlier where a token may lie across the prefix's end.

    Tokenizers keep words and punctuation apart, so `:"` before `high` is a boundary in every one; `[` before `],"` is
    none. There the prefix's trailing punctuation goes over to the choices.
    """
    before = field.prefix[-1:].isalnum()
    if all(text[:1].isalnum() != before for text in field.choices.values()):
        return field
    stem = field.prefix
    while stem and not stem[-1].isalnum():
        stem = stem[:-1]
    if not stem:
        return field
    return Field(stem, {label: field.prefix[len(stem) :] + text for label, text in field.choices.items()})


async def gather(*calls: Coroutine[Any, Any, _T]) -> list[_T]:
    """All results in order. The first failure cancels the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
