"""How long rows are for a base model's tokenizer, and which of them training would shorten or drop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fintunnel_training.dataset.checks.checked_rows import CheckedRow
from fintunnel_training.dataset.checks.findings import Example, Finding, found
from fintunnel_training.dataset.tokens import open_tokenizer
from fintunnel_training.errors import DataError

__all__ = ["TokenLengths", "token_lengths"]

_UNLIMITED = 1 << 40


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of whole conversations, before any shortening."""

    base: str
    max_length: int
    minimum: int
    median: int
    p95: int
    maximum: int


def token_lengths(
    rows: Iterable[CheckedRow], total: int, base: str, max_length: int
) -> tuple[TokenLengths | None, list[Finding]]:
    """Encode every row as training does; only the tokenizer of `base` is loaded.

    Raises:
        BaseModelError: no such base.
        OptionError: the model libraries are not installed.
    """
    tokenizer, base_id = open_tokenizer(base)
    from fintunnel_training.qlora.encoding import encode_rows

    lengths: list[int] = []
    shortened: list[Example] = []
    dropped: list[Example] = []
    for row in rows:
        length = encode_rows([row.row], tokenizer, _UNLIMITED).tokens
        lengths.append(length)
        if length <= max_length:
            continue
        try:
            encode_rows([row.row], tokenizer, max_length)
        except DataError:  # nothing of it can be trained on
            dropped.append(row.example(f"{length} token：{row.row.output}"))
        else:
            shortened.append(row.example(f"{length} token：{row.row.input}"))
    findings = [
        *found(
            "too_long",
            "错误",
            f"答案放不进 {max_length} 个 token（{base_id}）",
            "训练会丢弃这些行，别的工具会截断答案。请缩短文本，或调大 --max-length。",
            dropped,
            total,
        ),
        *found(
            "shortened",
            "提示",
            f"超过 {max_length} 个 token，训练时正文会被缩短（{base_id}）",
            "答案仍是完整的；想保留全文请调大 --max-length。",
            shortened,
            total,
        ),
    ]
    return _summary(lengths, base_id, max_length), findings


def _summary(lengths: Sequence[int], base: str, max_length: int) -> TokenLengths | None:
    if not lengths:
        return None
    ordered = sorted(lengths)

    def quantile(q: float) -> int:
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    return TokenLengths(base, max_length, ordered[0], quantile(0.5), quantile(0.95), ordered[-1])
