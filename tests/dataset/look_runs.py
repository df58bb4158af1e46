"""Rows in the shape of `dataset build`, a base's folder, and runs of the commands that look at rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fintunnel.cli import main


def news(number: int, *, split: str = "train", impact: str = "low", direction: str = "neutral", **meta: Any) -> Any:
    """A row in the shape of `dataset build`, one a day from 2025-08-04."""
    at = f"2025-{8 + number // 28:02}-{1 + number % 28:02}T02:00:00Z"
    request = {"task": "news", "text": f"第{number}条自拟消息", "published_at": at, **meta.pop("request", {})}
    signals = {"priced_in": number % 2 == 0, "wait_and_see": False} if "context" in request else None
    labels = {"impact": impact, "direction": direction, "signals": signals}
    return {
        "instruction": "判断消息的影响。",
        "input": f"<news>\n发布：周一10:00\n消息：第{number}条自拟消息\n</news>",
        "output": json.dumps(labels | {"rationale": "自拟的理由。"}, ensure_ascii=False),
        "meta": {"kind": "news", "style": "json", "split": split, "event_id": f"e{number}", "labels": labels}
        | {"request": request}
        | meta,
    }


def release(number: int, actual: float, consensus: float, reaction: float, indicator: str = "美国8月CPI年率") -> Any:
    figures = {"actual": actual, "consensus": consensus, "previous": consensus - 0.1, "unit": "%"}
    return news(
        number,
        request={"figures": figures | {"indicator": indicator}},
        reaction={"ret": reaction / 1000, "typical_moves": reaction},
    )


def write(path: Path, rows: list[Any], bad: str = "") -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + bad, encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["dataset", *arguments])
    assert (ended.value.code or 0) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def tokenizer_folder(folder: Path) -> Path:
    """A small real base folder: one token a character, a chat template."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    known = sorted(set("美国7月CPI年率 2.7%，预期 2.8%。 gold XAUUSD 3,345.10  end"))
    tokenizer = Tokenizer(WordLevel({c: i for i, c in enumerate(["<unk>", "<end>", *known])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("(?m)."), "isolated")
    tokenizer.decoder = Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")
    fast.chat_template = "{% for m in messages %}{{ m['role'][0] }}{{ m['content'] }}{% endfor %}" + (
        "{% if add_generation_prompt %}a{% endif %}"
    )
    fast.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return folder
