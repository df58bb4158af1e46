"""One variable swaps the backend: the same program, the same calls, the same types."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fintunnel import DeepSeekClient
from fintunnel.compat import DeepseekClient

from tests.client.cells import short_waits
from tests.client.deepseek_stand_in import DIRECTIONS, IMPACTS, KEY, DeepSeekStandIn, deepseek_stand_in
from tests.live_app import LiveApp

PROGRAM = """
from fintunnel import DeepSeekClient, Done

with DeepSeekClient() as client:
    found = client.check()
    print("backend", found.backend)
    analysis = client.analyze("美联储宣布加息25个基点")
    print("analyze", type(analysis).__name__, analysis.model.backend, analysis.impact in ("low", "medium", "high"))
    print("probabilities", [round(sum(each.values()), 6) for each in (analysis.impact_probs, analysis.direction_probs)])
    print("many", [type(each).__name__ for each in client.analyze_many(["加息", " ", "降息"])])
    *_, last = client.stream("加息")
    print("stream", isinstance(last, Done), type(last.analysis).__name__)
    answer = client.complete("总结一下")
    print("complete", bool(answer), answer.backend)
    print("system", bool(client.complete_with_system("你是分析师", "总结一下")))
    print("chat", bool("".join(client.stream_chat([{"role": "user", "content": "总结一下"}]))))
"""


@pytest.fixture
def hosted() -> Iterator[DeepSeekStandIn]:
    with deepseek_stand_in() as server, short_waits():
        yield server


def lines_of(backend: str, environment: dict[str, str], folder: Path) -> list[str]:
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False,
        env=os.environ | environment | {"FINTUNNEL_BACKEND": backend, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_same_program_runs_on_both(live_app: LiveApp, hosted: DeepSeekStandIn, tmp_path: Path) -> None:
    environment = {
        "FINTUNNEL_URL": live_app.url,
        "FINTUNNEL_API_KEY": "right-key",
        "DEEPSEEK_BASE_URL": hosted.url,
        "DEEPSEEK_API_KEY": KEY,
    }
    own = lines_of("finetuned", environment, tmp_path)
    theirs = lines_of("deepseek", environment, tmp_path)
    assert own == [line.replace("deepseek", "finetuned") for line in theirs]
    assert own[:2] == ["backend finetuned", "analyze NewsAnalysis finetuned True"]
    assert own[3] == "many ['NewsAnalysis', 'InvalidRequestError', 'NewsAnalysis']"


def test_the_variables_may_stand_in_a_file(live_app: LiveApp, tmp_path: Path) -> None:
    settings = f"FINTUNNEL_BACKEND=finetuned\nFINTUNNEL_URL={live_app.url}\nFINTUNNEL_API_KEY=right-key\n"
    (tmp_path / ".env").write_text(settings, encoding="utf-8-sig")  # as Notepad writes it
    code = "from fintunnel import DeepSeekClient; print(DeepSeekClient().check().backend)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "finetuned", done.stderr


def test_the_hosted_api_is_asked_as_its_documents_say(hosted: DeepSeekStandIn) -> None:
    client = DeepSeekClient(backend="deepseek", url=hosted.url, api_key=KEY)
    analysis = client.analyze("加息")
    assert analysis.impact_probs == pytest.approx(IMPACTS) and analysis.direction_probs == pytest.approx(DIRECTIONS)
    hosted.busy = 2
    assert client.analyze("加息").impact == "high"
    assert len(hosted.bodies) == 4


class Agent:
    """An agent with the old client: it tells a failure by its prefix, and on an exception calls itself again."""

    def __init__(self) -> None:
        self.client = DeepseekClient(api_key=KEY, base_url=None)
        self.depth = 0

    def summary(self, news: str) -> str:
        self.depth += 1
        assert self.depth < 3, "the agent recursed"
        try:
            answer = self.client.complete(f"总结：{news}", timeout_seconds=10.0, retry_times=1)
            comment = self.client.complete_with_system("你是分析师", news, timeout_seconds=10.0)
        except Exception:
            return self.summary(news)
        self.depth = 0
        return "无摘要" if answer.startswith("[错误]") or comment.startswith("[错误]") else f"{answer}{comment}"


def test_an_old_agent_goes_through_both_backends_and_their_failures(
    live_app: LiveApp, hosted: DeepSeekStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINTUNNEL_URL", live_app.url)
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")
    monkeypatch.setenv("DEEPSEEK_BASE_URL", hosted.url)
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    assert Agent().summary("加息") == "金价短线或有波动。" * 2
    monkeypatch.setenv("FINTUNNEL_API_KEY", "wrong-key")
    assert Agent().summary("加息") == "无摘要"

    monkeypatch.setenv("FINTUNNEL_BACKEND", "deepseek")
    assert Agent().summary("加息") == "黄金短线承压。" * 2
    hosted.busy = 1
    assert Agent().summary("加息") == "黄金短线承压。" * 2  # asked again
    hosted.balance = False
    assert Agent().summary("加息") == "无摘要"
    assert KEY not in str(hosted.bodies)

    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    live_app.server.should_exit = True
    assert Agent().summary("加息") == "无摘要"
