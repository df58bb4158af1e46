"""Instruction rows become tokens and labels, as the model will be asked and as it should answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fintunnel.errors import PromptTooLongError
from fintunnel.prompt import Message, Prompt, fit, render_prompt
from fintunnel.wire import NewsRequest

from fintunnel_training.base import prompt_tokens
from fintunnel_training.errors import BaseModelError, DataError
from fintunnel_training.instructions import InstructionRow

__all__ = ["IGNORED", "EncodedRows", "encode_rows"]

IGNORED = -100  # label of tokens that carry no loss
_JOINT_TOKENS = 4  # where prompt and answer meet, the tokenizer may cut differently


@dataclass(frozen=True)
class EncodedRows:
    """`rows` hold `input_ids` and `labels` of equal length (labels are -100 up to the answer)."""

    rows: list[dict[str, list[int]]]
    shortened: int
    dropped: int

    @property
    def tokens(self) -> int:
        return sum(len(row["input_ids"]) for row in self.rows)


def encode_rows(rows: Iterable[InstructionRow], tokenizer: Any, max_length: int) -> EncodedRows:
    """Tokenise rows as they will be served. A news prompt too long for its answer is shortened by `prompt.fit`;
    a row that cannot be is dropped and counted, because a cut answer teaches a model never to stop."""
    encoded: list[dict[str, list[int]]] = []
    shortened = dropped = 0
    for row in rows:
        messages, was_shortened = _fitted_messages(row, tokenizer, max_length)
        ids, labels = _encode(messages, row.output, tokenizer)
        if len(ids) > max_length:
            dropped += 1
            continue
        shortened += was_shortened
        encoded.append({"input_ids": ids, "labels": labels})
    if not encoded:
        raise DataError(f"每一行都超过 {max_length} 个 token，没有可训练的数据。请调大 --max-length。")
    return EncodedRows(encoded, shortened, dropped)


def _fitted_messages(row: InstructionRow, tokenizer: Any, max_length: int) -> tuple[list[Message], bool]:
    messages = Prompt(row.instruction, row.input).messages()
    if not isinstance(row.request, NewsRequest):
        return messages, False  # a report's answer rests on its passages: cut, they would no longer say it

    def count(candidate: list[Message]) -> int:
        return len(_encode(candidate, row.output, tokenizer)[0])

    try:
        request, shortened = fit(row.request, max_length, count, row.style, row.horizon_min)
    except PromptTooLongError:
        return messages, False  # too long as it is: the caller drops and counts it
    return (render_prompt(request, row.style, row.horizon_min).messages(), True) if shortened else (messages, False)


def _encode(messages: list[Message], answer: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    """The conversation as tokens, ended by the end token, and its labels: the answer's tokens alone."""
    prompt = prompt_tokens(tokenizer, messages)
    # The end token is part of the answer: what never learns it never stops.
    ids = [*prompt_tokens(tokenizer, messages, answer), int(tokenizer.eos_token_id)]
    # Where the template puts a space before the answer, the last tokens may differ from the bare prompt's.
    answer_start = next(
        (i for i, (a, b) in enumerate(zip(prompt, ids, strict=False)) if a != b), min(len(prompt), len(ids))
    )
    if answer_start < len(prompt) - _JOINT_TOKENS:
        raise BaseModelError("这个基座的对话模板在有回答时会改写前面的内容，训练与服务的提示词会不一致，请换一个基座。")
    return ids, [IGNORED] * answer_start + ids[answer_start:]
