"""What the row of a sequence in the KV cache holds, and what has to be fed for its next job.

Pure bookkeeping: no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fintunnel_server.inference.adapters import LoadedAdapter
from fintunnel_server.inference.choice_trie import ChoiceTrie, common_prefix
from fintunnel_server.inference.model_pass import Segment, chain

__all__ = ["CachedSequence"]

_TRIE_ROOM = 192  # tokens of answers that are looked at together


class CachedSequence:
    """A row holds the prompt, the answer so far (`_answer`), and after it the trie that was scored last.

    `prompt` lacks its last token: that one is fed with what follows, so that there is always a token whose logits say
    what comes first. `shared`: how many of its tokens many conversations begin with.
    """

    def __init__(
        self, prompt: Sequence[int], *, shared: int, adapter: LoadedAdapter | None, answer_tokens: int
    ) -> None:
        self.prompt = list(prompt)
        self.shared = min(shared, len(self.prompt))
        self.adapter = adapter
        self.room = len(prompt) + answer_tokens + _TRIE_ROOM
        self.row: int | None
        self._held: int  # tokens of the prompt that the row holds
        self._answer: list[int]
        self._trie: ChoiceTrie | None
        self.lose_row()

    @property
    def number(self) -> int:
        """of its adapter, as segments have it"""
        return -1 if self.adapter is None else self.adapter.number

    @property
    def is_new(self) -> bool:
        return self._held == 0

    @property
    def shared_tokens(self) -> tuple[int, ...]:
        return tuple(self.prompt[: self.shared])

    def lose_row(self) -> None:
        self.row, self._held, self._answer, self._trie = None, 0, [], None

    def hold(self, tokens: int) -> None:
        """So many tokens of the prompt have been put into the row."""
        self._held = tokens

    def moves(self, answer: Sequence[int]) -> tuple[int, list[int]]:
        """Go back or forward to the longest known beginning of an answer, less its last token.

        Returns:
            where the tokens that were scored in the trie belong, and where they lie now.
        """
        known = min(common_prefix([self._answer, answer]), len(answer) - 1)
        nodes: list[int] = []
        if self._trie is not None and known == len(self._answer):
            nodes = self._trie.path(answer[known:])[: len(answer) - 1 - known]
        start = len(self.prompt) + len(self._answer)
        self._answer = list(answer[: known + len(nodes)])
        self._trie = None
        return start, [start + node for node in nodes]

    def scoring(self, paths: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Segment, ChoiceTrie, int]:
        """The segment that scores fields; `paths`: per field its labels' tokens after `prompt`. Also the trie,
        and the number of its first token in the segment."""
        known = len(self._answer)
        trie = ChoiceTrie([{label: path[known:] for label, path in field.items()} for field in paths])
        start, head = self._head()
        first = len(head)
        parents = chain(first) + [first + parent if parent >= 0 else first - 1 for parent in trie.parents]
        compared = {first + node: tokens for node, tokens in trie.branches.items()}
        return Segment(self._row(), start, self.number, [*head, *trie.tokens], parents, compared), trie, first

    def scored(self, trie: ChoiceTrie) -> None:
        self._held = len(self.prompt)
        self._trie = trie

    def writing(self, answer: Sequence[int]) -> Segment:
        """The segment that feeds what is not known of an answer that is to be continued."""
        start, head = self._head()
        tokens = [*head, *answer[len(self._answer) :]]
        return Segment(self._row(), start, self.number, tokens, chain(len(tokens)), {}, written=True)

    def wrote(self, answer: Sequence[int]) -> None:
        self._held = len(self.prompt)
        self._answer = list(answer)

    def _head(self) -> tuple[int, list[int]]:
        """Where the next tokens are stored, and what of the prompt has to be fed before them."""
        if self._held < len(self.prompt):
            return self._held, self.prompt[self._held :]
        return len(self.prompt) + len(self._answer), []

    def _row(self) -> int:
        assert self.row is not None
        return self.row
