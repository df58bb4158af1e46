"""`fintunnel compare --rate` as a process: the page, a rater over HTTP, Ctrl+C, the report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from fintunnel.local_server import free_port
from fintunnel.rating_file import RatingFile
from fintunnel_training.comparison.cases import read_cases
from fintunnel_training.comparison.compare import Options, compare
from fintunnel_training.comparison.people import RATINGS
from fintunnel_training.comparison.result import ComparisonResult
from fintunnel_training.comparison.systems import Choice

from tests.instant_engine import InstantEngine
from tests.live_app import run_app
from tests.training.comparison_rows import write_splits

pytestmark = pytest.mark.usefixtures("key")
COMPARE = [sys.executable, "-m", "fintunnel", "compare"]


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    """A folder with everybody's answers, on a machine that has none of the models."""
    training = write_splits(tmp_path, count=12, reports=3)
    with run_app(InstantEngine(text="美元走强。"), api_key="right-key") as app:
        file = read_cases(training.with_name("i.test.jsonl"))
        compare(file, Options(tmp_path / "out", Choice(url=app.url), texts=3, resamples=1000, seeds=1))
    return tmp_path / "out"


def judge(url: str, rater: str, verdict: str) -> None:
    """Rate everything that this rater has not seen."""
    with httpx.Client(base_url=url, trust_env=False, headers={"Origin": url}) as http:
        while True:
            shown = http.get("/pairs", params={"rater": rater}).json()
            if shown["pair"] is None:
                return
            rating = {"pair": shown["pair"]["pair"], "rater": rater, "verdict": verdict, "left": {"usefulness": 4},
                      "right": {}, "seconds": 3}  # fmt: skip
            assert http.post("/ratings", json=rating).is_success


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process group alone")
def test_people_rate_in_the_browser_and_the_report_holds_what_they_said(answered: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*COMPARE, "--data", str(tmp_path / "i.jsonl"), "--out", str(answered), "--texts", "3"]
    command += ["--resamples", "1000", "--seeds", "1", "--rate", "--no-browser", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True
    ) as process:
        try:
            wait_for(url, process)
            judge(url, "王", "left")
            judge(url, "李", "equal")
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and to its page
        said, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "评分页面" in told and "Traceback" not in told
    result = ComparisonResult.model_validate_json((answered / "report.json").read_bytes())
    people = result.people
    assert people is not None and (people.first, people.second) == ("tuned", "base")
    assert [rater.name for rater in people.raters] == ["李", "王"] and people.ratings == 12
    assert people.raters[0].equal == 6
    assert "王" in (answered / "report.html").read_text(encoding="utf-8") and "人" in said
    with RatingFile(answered / RATINGS, create=False) as file:
        assert len(file.pairs()) == 6


def test_without_anything_written_there_is_nothing_to_rate(answered: Path, tmp_path: Path) -> None:
    command = [*COMPARE, "--data", str(tmp_path / "i.jsonl"), "--out", str(answered), "--texts", "0", "--rate"]
    done = subprocess.run([*command, "--seeds", "1"], capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "没有可评的回答" in done.stderr


def test_an_opponent_that_is_not_there_is_named(answered: Path, tmp_path: Path) -> None:
    command = [*COMPARE, "--data", str(tmp_path / "i.jsonl"), "--out", str(answered), "--texts", "3"]
    done = subprocess.run([*command, "--rate", "--against", "gpt"], capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and "--against gpt：可以是 base" in done.stderr
