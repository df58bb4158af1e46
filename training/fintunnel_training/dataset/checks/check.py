"""`fintunnel dataset check`: judges instruction files, FinTunnel's own or anybody's, and changes nothing.

Reads from top to bottom: every line, then what each answer and each prompt says, then the rows beside one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm.auto import tqdm

from fintunnel_training.dataset.checks.answer_templates import one_template
from fintunnel_training.dataset.checks.checked_rows import CheckedFile, CheckedRow, read_rows
from fintunnel_training.dataset.checks.findings import Example, Finding, found
from fintunnel_training.dataset.checks.lookahead import lookahead_column, lookahead_in_text, separating_figures
from fintunnel_training.dataset.checks.own_rows import own_rows
from fintunnel_training.dataset.checks.repeated_rows import copies_across_splits, repeated_rows
from fintunnel_training.dataset.checks.row_classes import Balance, class_balance, row_classes, unbalanced
from fintunnel_training.dataset.checks.token_lengths import TokenLengths, token_lengths
from fintunnel_training.dataset.grounding import figures_not_in, hindsight
from fintunnel_training.errors import OptionError
from fintunnel_training.instructions import split_paths

__all__ = ["CheckReport", "check_files", "files_to_check"]

_SLOW = 3000  # rows from which on a progress bar is shown
_ORDER = {"错误": 0, "警告": 1, "提示": 2}


@dataclass(frozen=True)
class CheckReport:
    """`rows`: split → readable rows; `templates`: kind → share of answers of one template."""

    files: dict[str, Path]
    lines: dict[str, int]
    rows: dict[str, int]
    findings: list[Finding]
    balance: Balance
    templates: dict[str, float]
    tokens: TokenLengths | None

    @property
    def failed(self) -> bool:
        return any(finding.severity == "错误" for finding in self.findings)

    def as_json(self) -> str:
        return json.dumps(
            {
                "ok": not self.failed,
                "files": {split: str(path) for split, path in self.files.items()},
                "lines": self.lines,
                "rows": self.rows,
                "findings": [finding.as_dict() for finding in self.findings],
                "class_balance": self.balance,
                "largest_template_share": self.templates,
                "token_lengths": asdict(self.tokens) if self.tokens else None,
            },
            ensure_ascii=False,
            indent=2,
        )


def files_to_check(file: Path, val: Path | None, test: Path | None) -> dict[str, Path]:
    """The file, and what is given or lies beside it as its validation and test split.

    Raises:
        OptionError: one file is named twice.
    """
    beside = split_paths(file)
    paths = {"train": file}
    for split, given in (("val", val), ("test", test)):
        if given is not None or beside[split].is_file():
            paths[split] = given or beside[split]
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise OptionError("训练、验证、测试不能是同一个文件，请检查 FILE、--val 和 --test")
    return paths


def check_files(paths: dict[str, Path], base: str | None = None, max_length: int = 512) -> CheckReport:
    """Check the files of the splits (keys of `paths`). Token lengths are looked at where a base is named.

    Raises:
        DataError: a file cannot be read at all, or holds nothing.
        BaseModelError: `base` cannot be found.
    """
    # A database that covers too short a time leaves an evaluation split empty; that is no fault of the rows.
    files = [
        CheckedFile(split, path) if split != "train" and _is_empty(path) else read_rows(path, split)
        for split, path in paths.items()
    ]
    rows = [row for file in files for row in file.rows]
    classes = [row_classes(row) for row in rows]
    balance = class_balance(rows, classes)
    templates, template_findings = one_template(rows)
    tokens: TokenLengths | None = None
    token_findings: list[Finding] = []
    if base is not None:
        tokens, token_findings = token_lengths(_progress(rows, "分词"), len(rows), base, max_length)
    findings = [
        *_unreadable(files),
        *_row_by_row(rows),
        *own_rows(rows),
        *separating_figures(rows, classes),
        *repeated_rows(rows, classes),
        *copies_across_splits(rows),
        *template_findings,
        *token_findings,
        *unbalanced(balance),
    ]
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    lines = {file.split: file.lines for file in files}
    return CheckReport(
        paths, lines, {file.split: len(file.rows) for file in files}, findings, balance, templates, tokens
    )


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _unreadable(files: Sequence[CheckedFile]) -> list[Finding]:
    lines = sum(file.lines for file in files)
    return [
        *found(
            "malformed",
            "错误",
            "格式错误的行",
            "每行应是一个 JSON 对象，带文本字段 instruction、input（可省）、output，UTF-8 编码。改正或删掉这些行。",
            [example for file in files for example in file.malformed],
            lines,
        ),
        *found(
            "other_format",
            "错误",
            "不是 Instruction-Input-Output 格式（对话格式或别的列名）",
            "把用户的话写进 instruction（资料放 input），助手的回答写进 output，一问一答一行；"
            "prompt/completion 之类请改列名。",
            [example for file in files for example in file.other_format],
            lines,
        ),
    ]


def _row_by_row(rows: Sequence[CheckedRow]) -> list[Finding]:
    """What one row alone shows. The news of FinTunnel's own rows is quoted, so only foreign inputs are searched."""
    ungrounded: list[Example] = []
    told: list[Example] = []
    ungrounded_bare: list[Example] = []
    told_bare: list[Example] = []
    ahead: list[Example] = []
    context_columns: list[Example] = []
    columns: list[Example] = []
    told_in_input: list[Example] = []
    for row in _progress(rows, "检查"):
        source, output = row.prompt, row.row.output
        # A row without an input answers from general knowledge: what it says need not stand anywhere.
        bare = row.row.request is None and not row.row.input.strip()
        if missing := figures_not_in(output, source):
            (ungrounded_bare if bare else ungrounded).append(row.example(f"{'、'.join(missing[:4])}：{output}"))
        if phrases := hindsight(output, source):
            (told_bare if bare else told).append(row.example(output, phrases[0]))
        if row.row.request is None:
            if name := lookahead_in_text(source):
                ahead.append(row.example(source, name))
            elif phrases := hindsight(row.row.input):
                told_in_input.append(row.example(row.row.input, phrases[0]))
        if column := lookahead_column(row.raw):
            (context_columns if column[1] else columns).append(row.example(f"列 {column[0]}"))
    total = len(rows)
    drop = "模型被问到时还没有这些行情：请从输入里删掉，只留发布之前的数据。"
    return [
        *found("hindsight", "错误", "答案说出了消息发布之后的走势（事后信息）", "答案只能依据发布时已知的信息；"
               "请删掉发布后的涨跌，改写成影响的理由。", told, total),
        *found("lookahead_input", "错误", "输入里有消息发布之后的行情（前视）", drop, ahead, total),
        *found("lookahead_context", "错误", "上下文列里有消息发布之后的行情（前视）", drop, context_columns, total),
        *found("ungrounded_figures", "错误", "答案里的数字在问题和输入里都没有，也算不出来", "删掉这些数字，"
               "或把它们的出处写进输入。", ungrounded, total),
        *found("hindsight_without_input", "警告", "没有输入的问答里，答案像是在说事后走势", "若这一行在分析一条消息，"
               "请删掉发布后的涨跌；若是讲历史，可以保留。", told_bare, total),
        *found("ungrounded_without_input", "警告", "没有输入的问答里，答案写了题目中没有的数字", "一般知识可以保留，"
               "请核对数字。", ungrounded_bare, total),
        *found("lookahead_column", "警告", "多余的列像是消息发布之后的行情", "训练不读这些列；"
               "若别的工具会把它们拼进输入，请先删掉。", columns, total),
        *found("hindsight_input", "警告", "输入里像是写了消息发布之后的走势", "若是新闻自己报道的旧行情可以保留，"
               "若是后来补进去的请删掉。", told_in_input, total),
    ]  # fmt: skip


def _progress(rows: Sequence[CheckedRow], what: str) -> Iterator[CheckedRow]:
    return iter(tqdm(rows, desc=what, unit="行", disable=len(rows) < _SLOW or None, mininterval=0.5))
