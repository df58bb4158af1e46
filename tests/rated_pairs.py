"""A rating file with pairs whose answers tell which system they are of, to the tests alone; asking for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from fintunnel.rating_file import RatedAnswer, RatingFile, RatingPair
from fintunnel.wire import Context, Figures, NewsRequest, Passage, ReportRequest

# No page and no answer of the app may name them.
TUNED, BASE = "adapter-of-may", "hosted-model-9"


def news_pair(number: int, *, tuned: str = "", base: str = "") -> RatingPair:
    """The tuned model's answer begins with 「, the base's with 『."""
    request = NewsRequest(
        text=f"某国公布的第{number}次月度消费者物价年率为3.4%，高于市场预期的3.1%。",
        published_at="2026-05-08T20:30:00",
        importance=4,
        figures=Figures(actual=3.4, consensus=3.1, unit="%", indicator="消费者物价年率"),
        context=Context(pre_return=-0.0018, volatility=0.0042, typical_move=0.0009),
        adapter=TUNED,
    )
    first = RatedAnswer(lines=["影响：高", "方向：利空"], text=tuned or f"「公布值高于预期，对黄金偏空。第{number}次。")
    second = RatedAnswer(lines=["影响：中"], text=base or f"『数据公布。第{number}次。")
    return RatingPair.of(request, TUNED, BASE, first, second)


def report_pair() -> RatingPair:
    passages = [
        Passage(text="营业收入48.6亿元，同比增长12.3%，主要由于海外订单增加。", source="示例公司年度报告", page=12),
        Passage(text="研发费用为3.1亿元，占营业收入的6.4%。", source="示例公司年度报告", page=27),
    ]
    request = ReportRequest(question="收入为什么增长？", passages=passages, adapter="base")
    first = RatedAnswer(lines=["引用：[1]"], text="「海外订单增加[1]。")
    return RatingPair.of(request, TUNED, BASE, first, RatedAnswer(text="『不清楚。"))


def rating_file(path: Path, pairs: int) -> RatingFile:
    """Open; the second pair is a report question. Orders are always drawn alike."""
    file = RatingFile(path)
    file.seed = "of the tests"
    file.add_pairs([report_pair() if number == 2 else news_pair(number) for number in range(1, pairs + 1)])
    return file


def next_pair(http: httpx.Client, rater: str) -> dict[str, Any]:
    response = http.get("/pairs", params={"rater": rater})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def rating(pair: dict[str, Any], rater: str, verdict: str = "left", **change: object) -> dict[str, object]:
    return {"pair": pair["pair"], "rater": rater, "verdict": verdict, "seconds": 3.5} | change
