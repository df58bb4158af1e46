"""The probabilities of a written label, from the log-probabilities of the tokens that spell it. Pure.

An API gives the likeliest tokens at each place of what it wrote. Where a label begins, each of them speaks for the
label that begins with it; their shares are the label's distribution given what was written before it. Where tokens that
were not listed, or that speak for two labels, could move a share by more than a thousandth, there are none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

__all__ = ["label_probabilities"]

_Label = TypeVar("_Label", bound=str)
_NEGLIGIBLE = 1e-3


def label_probabilities(
    logprobs: object, field: str, labels: Sequence[_Label], chosen: _Label
) -> dict[_Label, float] | None:
    """
    Args:
        logprobs: `choices[0].logprobs` of a chat completion that is JSON, of whatever shape.
        field: the JSON field that holds the label.
        chosen: the label that was written.

    Returns:
        probabilities that add up to 1; None where they cannot be computed.
    """
    try:
        tokens: list[Any] = logprobs["content"]  # type: ignore[index]
        texts = [str(token["token"]) for token in tokens]
        begin = _place_of("".join(texts), field, chosen)
        at, before = 0, 0
        while before + len(texts[at]) <= begin:
            before += len(texts[at])
            at += 1
        lead = texts[at][: begin - before]  # what stands before the label in the same token, often its quote
        weights: dict[_Label, float] = dict.fromkeys(labels, 0.0)
        listed = ambiguous = 0.0
        for candidate in tokens[at]["top_logprobs"]:
            probability = math.exp(min(float(candidate["logprob"]), 0.0))
            listed += probability
            spoken_for = _labels_of(str(candidate["token"]), lead, labels)
            if len(spoken_for) == 1:
                weights[spoken_for[0]] += probability
            elif spoken_for:
                ambiguous += probability
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    total = sum(weights.values())
    unlisted = 0.0 if all(weights.values()) else 1.0 - listed  # a label that is not listed may hold all of it
    if not (total > 0 and listed <= 1.0 + _NEGLIGIBLE) or ambiguous + unlisted > _NEGLIGIBLE * total:
        return None
    # What was answered is the model's choice; figures that say otherwise would belong to another answer.
    if max(weights, key=weights.__getitem__) != chosen:
        return None
    return {label: weight / total for label, weight in weights.items()}


def _place_of(text: str, field: str, label: str) -> int:
    """Where the label begins in the JSON text.

    Raises:
        ValueError: not there.
    """
    return text.index(f'"{label}"', text.index(":", text.index(f'"{field}"'))) + 1


def _labels_of(token: str, lead: str, labels: Sequence[_Label]) -> list[_Label]:
    if not token.startswith(lead):
        return []  # another spelling of the JSON around it
    rest = token[len(lead) :]
    return [label for label in labels if rest and ((whole := label + '"').startswith(rest) or rest.startswith(whole))]
