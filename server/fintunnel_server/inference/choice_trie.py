"""The allowed answers of several fields as one trie of tokens, which one pass scores at every branch.

Pure: token numbers in, tokens and parents out; logits in, probabilities out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["ChoiceTrie", "common_prefix"]

Path = tuple[int, ...]


class ChoiceTrie:
    """Nodes are the tokens that have to be fed, in an order in which a parent comes before its children.

    `tokens[i]` follows `tokens[parents[i]]`, or the prompt where `parents[i]` is -1; `branches` lists the nodes
    (-1: the prompt's end) at which some field's choices part, with the tokens that are compared there. A node
    that no branch lies on or below is not fed: where only one choice is left nothing has to be computed.
    """

    def __init__(self, fields: Sequence[Mapping[str, Sequence[int]]]) -> None:
        """`fields`: for each its labels with their tokens after the prompt, the answer before the field included.

        Raises:
            ValueError: one choice of a field is the beginning of another.
        """
        self._fields = [{label: tuple(path) for label, path in paths.items()} for paths in fields]
        # Where each field has to look: the answer so far, and the tokens that its choices continue it with.
        self._splits: list[dict[Path, list[int]]] = [_splits(paths) for paths in self._fields]
        wanted = {prefix for splits in self._splits for prefix in splits}
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self._number: dict[Path, int] = {(): -1}
        for prefix in sorted(wanted):
            for length in range(1, len(prefix) + 1):
                path = prefix[:length]
                if path not in self._number:
                    self._number[path] = len(self.tokens)
                    self.tokens.append(path[-1])
                    self.parents.append(self._number[path[:-1]])
        self.branches: dict[int, list[int]] = {}
        for splits in self._splits:
            for prefix, following in splits.items():
                known = self.branches.setdefault(self._number[prefix], [])
                known += [token for token in following if token not in known]

    def path(self, tokens: Sequence[int]) -> list[int]:
        """The nodes of the longest beginning of `tokens` that is in the trie, in order."""
        nodes = []
        path: Path = ()
        for token in tokens:
            path = (*path, token)
            number = self._number.get(path)
            if number is None:
                break
            nodes.append(number)
        return nodes

    def probabilities(self, logits: Mapping[int, Mapping[int, float]]) -> list[dict[str, float]]:
        """Per field its labels' probabilities: the product over the branches on a label's way of its share there.

        Args:
            logits: by branch node and token.
        """
        return [
            {label: self._probability(path, splits, logits) for label, path in paths.items()}
            for paths, splits in zip(self._fields, self._splits, strict=True)
        ]

    def _probability(
        self, path: Path, splits: Mapping[Path, list[int]], logits: Mapping[int, Mapping[int, float]]
    ) -> float:
        probability = 1.0
        for prefix, following in splits.items():
            if path[: len(prefix)] == prefix:
                here = logits[self._number[prefix]]
                highest = max(here[token] for token in following)
                weights = {token: math.exp(here[token] - highest) for token in following}
                probability *= weights[path[len(prefix)]] / sum(weights.values())
        return probability


def _splits(paths: Mapping[str, Path]) -> dict[Path, list[int]]:
    """Every beginning after which the paths part, with the tokens that follow there."""
    splits: dict[Path, list[int]] = {}

    def descend(group: list[Path], depth: int) -> None:
        if len(group) == 1:
            return
        if any(len(path) == depth for path in group):
            raise ValueError("one choice is the beginning of another")
        following: dict[int, list[Path]] = {}
        for path in group:
            following.setdefault(path[depth], []).append(path)
        if len(following) > 1:
            splits[group[0][:depth]] = list(following)
        for below in following.values():
            descend(below, depth + 1)

    descend(list(paths.values()), 0)
    return splits


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all sequences share."""
    length = 0
    for column in zip(*sequences, strict=False):
        if any(token != column[0] for token in column):
            break
        length += 1
    return length
