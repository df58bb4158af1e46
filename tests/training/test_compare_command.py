"""`fintunnel compare` as people type it, against a running server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fintunnel_training.comparison.result import ComparisonResult

from tests.instant_engine import InstantEngine
from tests.live_app import run_app
from tests.training.comparison_rows import write_splits

FEW = ("--texts", "3", "--resamples", "1000", "--seeds", "1")


@pytest.fixture
def url() -> Iterator[str]:
    with run_app(InstantEngine(text="美元走强。"), api_key="right-key") as app:
        yield app.url


def compare(*arguments: object, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fintunnel", "compare", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, "FINTUNNEL_API_KEY": "right-key", "DEEPSEEK_API_KEY": ""} | variables,
        timeout=120,
    )


def test_headlines_are_shown_side_by_side_and_replace_no_report(url: str, tmp_path: Path) -> None:
    done = compare("--cases", "美联储宣布加息25个基点", "非农不及预期", "--url", url, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "美联储宣布加息25个基点" in done.stdout and "非农不及预期" in done.stdout
    assert done.stdout.count("美元走强。") == 4 and "没有标签" in done.stdout
    assert (tmp_path / "comparison-cases" / "report.html").is_file() and not (tmp_path / "comparison").exists()


def test_a_report_in_english_has_chinese_only_where_others_wrote_it(url: str, tmp_path: Path) -> None:
    write_splits(tmp_path, count=12, reports=3)
    done = compare("--data", "i.jsonl", "--url", url, "--language", "en", "--rows", "9", *FEW, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "comparison" / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<body>") :]
    theirs = "条消息 甲公司 营收 亿元，上年 增幅是多少 年的 同比增长 资料未提及 上年 本年 年报 美元走强 亿元"
    for text in theirs.split():
        body = body.replace(text, "")
    assert re.findall(r"[\u4e00-\u9fff]{2,}", re.sub(r"data:image/png;base64,[^\"]*", "", body)) == []
    assert "only 9 rows, fewer than 30: no interval" in page and "9 of 12 pieces of news" in page


def test_json_is_the_report_files_own(url: str, tmp_path: Path) -> None:
    write_splits(tmp_path, count=12, reports=3)
    done = compare("--data", "i.jsonl", "--url", url, "--json", "--no-base", *FEW, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "comparison" / "report.json").read_text(encoding="utf-8"))
    result = ComparisonResult.model_validate_json(done.stdout)
    assert result.systems[0].name == "tuned" and result.pictures
    assert result.reproduce[-1].startswith("fintunnel compare --data i.jsonl")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "请给 --data 或 --cases"),
        (("--data", "i.jsonl", "--cases", "金价"), "请给 --data 或 --cases"),
        (("--data", "i.jsonl", "金价"), "消息要跟在 --cases 后面"),
        (("--data", "i.jsonl"), "没有可比的系统"),
        (("--data", "i.jsonl", "--hosted"), "没有 DEEPSEEK_API_KEY"),
        (("--data", "i.jsonl", "--adapter", "none"), "找不到适配器目录"),
        (("--data", "i.jsonl", "--upstream", "http://127.0.0.1:1"), "--upstream-model"),
        (("--data", "i.jsonl", "--upstream-model", "x"), "要与 --upstream 一起用"),
        (("--data", "i.jsonl", "--url", "http://127.0.0.1:1", "--quantization", "nf4"), "--quantization"),
        (("--data", "i.jsonl", "--port", "9"), "要与 --rate 一起用"),
    ],
)
def test_wrong_use_is_told_in_a_line_and_asks_nobody(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    write_splits(tmp_path, count=3, reports=0)
    done = compare(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") <= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "none.jsonl", "--url", "http://127.0.0.1:1"), "无法读取 none.jsonl"),
        (("--data", "i.test.jsonl", "--url", "http://127.0.0.1:1"), "连不上"),
        (("--data", "train.jsonl", "--url", "http://127.0.0.1:1"), "属于训练集"),
        (("--data", "i.jsonl", "--join", "none.sqlite"), "找不到要合并的回答文件"),
    ],
)
def test_what_fails_is_told_in_a_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    training = write_splits(tmp_path, count=3, reports=0)
    (tmp_path / "train.jsonl").write_bytes(training.read_bytes())
    done = compare(*arguments, folder=tmp_path, FINTUNNEL_MAX_RETRIES="0")
    assert done.returncode == 1, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
