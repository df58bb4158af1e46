"""A test split with news and report questions as `dataset build` writes them, and the training rows beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fintunnel.prompt import PROMPT_VERSION

IMPACTS = ("low", "medium", "high")
DIRECTIONS = ("bearish", "neutral", "bullish")


def news(number: int, split: str = "test") -> dict[str, Any]:
    """Three rows a day; its volatility tells the impact of every row, and its text nothing."""
    at = datetime(2025, 10, 1, 1, tzinfo=UTC) + timedelta(hours=8 * number)
    impact = IMPACTS[number % 3]
    request = {
        "task": "news",
        "text": f"{split} 第{number}条消息",
        "published_at": at.isoformat(),
        "context": {"pre_return": 0.001, "volatility": 0.001 * (1 + number % 3), "typical_move": 0.0005},
    }
    labels = {
        "impact": impact,
        "direction": DIRECTIONS[number // 3 % 3],
        "signals": {"priced_in": False, "wait_and_see": False},
    }
    return _row(request, "{}", split, {"labels": labels, "event_id": f"{split}-{number}"})


def report(number: int, split: str = "test") -> dict[str, Any]:
    """Every third passage does not say."""
    request = {
        "task": "report",
        "question": f"甲公司{2000 + number}年的营收增幅是多少？",
        "passages": [{"text": f"营收{200 + number}亿元，上年100亿元。", "source": "甲公司年报"}],
    }
    answer = {"citations": [0], "answer": f"同比增长{100 + number}%：上年100亿元，本年{200 + number}亿元。"}
    if number % 3 == 0:
        answer = {"citations": [], "answer": "资料未提及。"}
    return _row(request, json.dumps(answer, ensure_ascii=False), split, {"question_kind": "growth"})


def _row(request: dict[str, Any], output: str, split: str, meta: dict[str, Any]) -> dict[str, Any]:
    about = {
        "style": "json",
        "split": split,
        "prompt_version": PROMPT_VERSION,
        "horizon_min": 15,
        "request": request,
    }
    return {"instruction": "分析", "input": "…", "output": output, "meta": about | meta}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_splits(folder: Path, count: int = 45, reports: int = 6) -> Path:
    """`i.jsonl` with its validation and test files; gives the training file."""
    for split, suffix in (("val", ".val"), ("test", ".test")):
        rows = [news(number, split) for number in range(count)] + [report(number, split) for number in range(reports)]
        write(folder / f"i{suffix}.jsonl", rows)
    return write(folder / "i.jsonl", [news(number, "train") for number in range(60)])
