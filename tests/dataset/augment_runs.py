"""A small dataset as `dataset build` lays it out, and runs of `dataset augment` on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fintunnel.cli import main
from fintunnel.prompt import PROMPT_VERSION, Style, render_example, render_news_answer, render_report_answer
from fintunnel.wire import HORIZON_MIN, Context, Impact, NewsRequest, Passage, ReportRequest
from fintunnel_training.instructions import SPLITS

from tests.client.fault_server import Reply, chat_reply
from tests.dataset.teacher_server import TeacherServer

OWN = "这是规则写成的理由，只看输入。"
GOOD = "这条消息谈的是利率前景。若解读为偏鸽，美元和实际利率走低，通常支撑黄金；若解读为偏鹰，则反过来压制金价。"
CONTEXT = Context(pre_return=0.0012, volatility=0.0031, typical_move=0.0008)


def rationale_reply(text: str = GOOD, **fields: Any) -> Reply:
    return chat_reply(json.dumps({"rationale": text} | fields, ensure_ascii=False))


def error_reply(status: int, message: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "code": None}}).encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def news(number: int) -> NewsRequest:
    return NewsRequest(text=f"某央行第{number}号公告谈到利率的去向。", importance=3, context=CONTEXT)


def news_row(
    request: NewsRequest, impact: Impact, style: Style = "json", split: str = "train", horizon_min: int = HORIZON_MIN
) -> dict[str, Any]:
    if style == "json":
        answer = render_news_answer(impact, "bullish" if impact == "high" else "bearish", None, OWN)
    elif style == "news_prose":
        answer = f"影响程度：{'高' if impact == 'high' else '低'}；短线方向：利好。{OWN}"
    else:
        answer = OWN
    return row_of(request, answer, style, "news", split, horizon_min)


def row_of(
    request: NewsRequest | ReportRequest,
    answer: str,
    style: Style,
    kind: str,
    split: str,
    horizon_min: int = HORIZON_MIN,
) -> dict[str, Any]:
    prompt, _ = render_example(request, answer, style, horizon_min)
    dumped = request.model_dump(mode="json", exclude_defaults=True) | {"task": request.task}
    meta: dict[str, Any] = {
        "kind": kind,
        "style": style,
        "split": split,
        "prompt_version": PROMPT_VERSION,
        "request": dumped,
    }
    meta["horizon_min"] = horizon_min
    return {"instruction": prompt.instruction, "input": prompt.input, "output": answer, "meta": meta}


def write_data(
    folder: Path,
    rows: int = 6,
    impact: Impact = "high",
    horizon_min: int = HORIZON_MIN,
    more: Sequence[dict[str, Any]] = (),
) -> Path:
    """`rows` JSON rows and `more`, then the first request again as prose, a market answer, and a report."""
    folder.mkdir(exist_ok=True)
    report = ReportRequest(question="营收多少？", passages=[Passage(text="营收12.5亿元。", source="某公司年报")])
    parts = {
        "x.jsonl": [
            *(news_row(news(number), impact, horizon_min=horizon_min) for number in range(rows)),
            *more,
            news_row(news(0), impact, "news_prose"),
            news_row(news(1), impact, "market_prose"),
            row_of(report, render_report_answer([0], "营收12.5亿元。"), "json", "report", "train"),
        ],
        "x.val.jsonl": [news_row(news(100), impact, split="val")],
        "x.test.jsonl": [news_row(news(200), impact, split="test")],
    }
    hashes = {}
    for name, part in parts.items():
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part).encode()
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    edges = {
        "impact": [1.0, 2.0],
        "direction": [-0.5, 0.5],
        "priced_in_pre_return": 0.003,
        "wait_and_see_volatility": 0.004,
        "wait_and_see_pre_return": 0.001,
    }
    counts = dict.fromkeys(SPLITS, 0)
    nothing: dict[str, Any] = {name: {} for name in ("impact", "direction", "signals", "rows_by_kind", "rows_by_style")}
    card = nothing | {
        "files_sha256": hashes,
        "edges": edges,
        "periods_utc": dict.fromkeys(SPLITS, ["a", "b"]),
        "source": "m.db",
        "ticker": "XAUUSD",
        "price_bars": 1,
        "num_samples": 7,
        "mix": [0.6, 0.2, 0.2],
        "balance": "none",
        "seed": 42,
        "horizon_min": 15,
        "window_min": 120,
        "embargo_min": 135,
        "prompt_version": 1,
        "fintunnel_version": "0",
        "since": None,
        "until": None,
        "notes": [],
        "known_limits": [],
        "events_read": 0,
        "events_dropped": {},
        "reactions": {},
        "events": counts,
        "events_with_context": counts,
        "rows": counts,
        "training_events_used": 0,
    }
    (folder / "x.card.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "x.card.md").write_text("# 数据卡\n\n正文。\n", encoding="utf-8")
    return folder / "x.jsonl"


@dataclass
class Ended:
    status: int
    out: str
    err: str


@dataclass
class Augment:
    """Runs the command on a fresh dataset, all in one folder."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def data(self) -> Path:
        return self.folder / "in" / "x.jsonl"

    @property
    def out(self) -> Path:
        return self.folder / "out.jsonl"

    @property
    def card(self) -> dict[str, Any]:
        card: dict[str, Any] = json.loads((self.folder / "out.card.json").read_text(encoding="utf-8"))
        return card

    def arguments(self, url: str, *more: str) -> list[str]:
        paths = [str(self.data), "--out", str(self.out)]
        teacher = ["--teacher-url", url, "--teacher-model", "tutor"]
        return ["dataset", "augment", *paths, *teacher, "--rate", "60000", *more]

    def __call__(self, server: TeacherServer, *more: str, yes: bool = True) -> Ended:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(self.arguments(server.url, *(["--yes"] if yes else []), *more))
        captured = self.capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text(encoding="utf-8").splitlines()]

    def rationales(self) -> list[str]:
        return [json.loads(row["output"])["rationale"] for row in self.rows()[:-3]]
