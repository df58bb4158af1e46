"""What must hold before the first step: rows that teach what will be asked, and answers that end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fintunnel.prompt import Prompt, render_prompt

from fintunnel_training.errors import BaseModelError, DataError
from fintunnel_training.instructions import InstructionRow
from fintunnel_training.qlora.encoding import IGNORED, EncodedRows

__all__ = ["check_prompts", "check_tokens"]


def check_prompts(rows: Sequence[InstructionRow]) -> None:
    """Raise DataError where a row's prompt is not what the server will render of its request."""
    for number, row in enumerate(rows, 1):
        if row.request is None:
            continue
        if render_prompt(row.request, row.style, row.horizon_min) != Prompt(row.instruction, row.input):
            raise DataError(
                f"第 {number} 条样本的 instruction 或 input 与服务时的提示词不同（被改过？）。"
                "请重新运行 fintunnel dataset build，或删掉该行的 meta。"
            )


def check_tokens(encoded: EncodedRows, tokenizer: Any) -> None:
    """The tokenizer's traps, looked for in the tokens that will be trained on. (That prompts are cut as they are
    served is seen to where rows are encoded, of each row.)

    Raises:
        BaseModelError: an answer does not end with the end token, carries no loss, or holds padding.
    """
    end = tokenizer.eos_token_id
    for row in encoded.rows:
        if row["labels"][-1] != end or row["input_ids"][-1] != end:
            raise BaseModelError("样本没有以结束符结尾，模型会学不会停下来。请换一个基座或升级 fintunnel。")
        if all(label == IGNORED for label in row["labels"][:-1]):
            raise BaseModelError("有样本的回答没有一个 token 计入损失。请换一个基座或升级 fintunnel。")
        if tokenizer.pad_token_id != end and tokenizer.pad_token_id in row["labels"]:
            raise BaseModelError("填充符出现在回答里，会被当作内容学习。请换一个基座。")
