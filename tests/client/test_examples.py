"""The examples are run, as processes, against the real app; the hosted API is a server on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fintunnel.local_server import free_port
from fintunnel.wire import BatchRequest, NewsRequest

from tests.client.fault_server import chat_reply, fault_server
from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADLINE = "美联储宣布加息25个基点"
WRITTEN = json.dumps({"impact": "high", "direction": "bullish", "signals": None, "rationale": "避险升温。"})
POWERSHELLS = [path for name in ("powershell", "pwsh") if (path := shutil.which(name))]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUTF8": "1", "LANGSMITH_TRACING": "false", **variables}
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=120, cwd=EXAMPLES.parent
    )


def own(app: LiveApp) -> dict[str, str]:
    return {"FINTUNNEL_BACKEND": "finetuned", "FINTUNNEL_URL": app.url, "FINTUNNEL_API_KEY": "right-key"}


def python(name: str, *arguments: str, **variables: str) -> str:
    done = run(sys.executable, str(EXAMPLES / name), *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_news_is_a_batch_with_a_request_on_each_line() -> None:
    raw = (EXAMPLES / "news.json").read_bytes()
    items = [NewsRequest.model_validate(item) for item in BatchRequest.model_validate_json(raw).items]
    lines = raw.decode("utf-8").splitlines()[1:-1]
    assert [NewsRequest.model_validate_json(line.rstrip(",")) for line in lines] == items
    assert items[0].text == HEADLINE


def test_the_agent_decides_with_either_backend(live_app: LiveApp, engine: InstantEngine) -> None:
    shown = python("agent.py", **own(live_app))
    assert shown.count("忽略：影响 low，方向 bearish") == 3 and f"总结：{engine.text}" in shown
    assert "回答者：finetuned（instant），总结 finetuned" in shown

    with fault_server(chat_reply(WRITTEN)) as hosted:
        shown = python(
            "agent.py", FINTUNNEL_BACKEND="deepseek", DEEPSEEK_API_KEY="k", DEEPSEEK_BASE_URL=hosted.url
        )  # fmt: skip
    assert shown.count("关注：影响 high，方向 bullish") == 3
    assert "总结 deepseek" in shown


def test_the_agent_says_what_failed_and_ends_with_1(live_app: LiveApp) -> None:
    wrong = run(sys.executable, str(EXAMPLES / "agent.py"), **own(live_app) | {"FINTUNNEL_API_KEY": "wrong"})
    assert wrong.returncode == 1 and wrong.stdout.count("  [错误] 密钥不正确") == 3
    unset = run(sys.executable, str(EXAMPLES / "agent.py"), FINTUNNEL_BACKEND="deepseek")
    assert unset.returncode == 1 and unset.stderr.startswith("[错误]") and "Traceback" not in unset.stderr


def test_the_old_agent_with_either_backend_and_without(live_app: LiveApp, engine: InstantEngine) -> None:
    assert python("old_agent.py", **own(live_app)).count(engine.text) == 2
    with fault_server(chat_reply("金价或走高。")) as hosted:
        keys = {"FINTUNNEL_BACKEND": "deepseek", "DEEPSEEK_API_KEY": "k", "DEEPSEEK_BASE_URL": hosted.url}
        assert python("old_agent.py", **keys).count("金价或走高。") == 2
    down = own(live_app) | {"FINTUNNEL_URL": f"http://127.0.0.1:{free_port()}"}
    failed = run(sys.executable, str(EXAMPLES / "old_agent.py"), **down)
    assert failed.returncode == 1 and failed.stdout.count("[错误] 连不上") == 2 and not failed.stderr


def test_the_langchain_tool_by_hand_and_bound(live_app: LiveApp, engine: InstantEngine) -> None:
    pytest.importorskip("langchain_openai")
    shown = python("langchain_tool.py", **own(live_app))
    assert f"{HEADLINE}：影响 low，方向 bearish" in shown and f"理由：{engine.text}" in shown
    engine.json = json.dumps({"text": "模型填写的消息"}, ensure_ascii=False)
    assert "模型填写的消息：影响 low" in python("langchain_tool.py", "--bind", **own(live_app))
    failed = run(sys.executable, str(EXAMPLES / "langchain_tool.py"), **own(live_app) | {"FINTUNNEL_API_KEY": "no"})
    assert failed.returncode == 1 and failed.stderr.startswith("[错误] 密钥不正确")


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
def test_curl_asks_all_four(live_app: LiveApp, engine: InstantEngine) -> None:
    done = run("bash", str(EXAMPLES / "curl.sh"), **own(live_app) | {"FINTUNNEL_URL": live_app.url + "/"})
    assert done.returncode == 0, done.stdout + done.stderr
    parts = dict(re.findall(r"^# \w+ (/\S+)\n(.*?)\n(?=#|\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    assert list(parts) == ["/health", "/analyze", "/analyze/batch", "/analyze/stream"]
    assert json.loads(parts["/analyze"])["rationale"] == engine.text
    assert [item["analysis"]["impact"] for item in json.loads(parts["/analyze/batch"])["results"]] == ["low"] * 3
    assert "event: analysis" in parts["/analyze/stream"] and engine.text in parts["/analyze/stream"]

    wrong = run("bash", str(EXAMPLES / "curl.sh"), **own(live_app) | {"FINTUNNEL_API_KEY": "wrong-key"})
    assert wrong.returncode != 0 and "invalid_api_key" in wrong.stdout and "/analyze/batch" not in wrong.stdout
    assert "wrong-key" not in wrong.stdout + wrong.stderr


def test_the_powershell_script_is_right_for_both_powershells() -> None:
    script = (EXAMPLES / "powershell.ps1").read_bytes().decode("ascii")  # 5.1 reads anything else as GBK
    code = "\n".join(line for line in script.splitlines() if not line.startswith("#"))
    assert "ReadAllBytes" in code and "[Console]::OutputEncoding" in code and "ngrok-skip-browser-warning" in code
    for call in re.findall(r"Invoke-RestMethod.*\n.*", code):
        assert "-ContentType 'application/json; charset=utf-8'" in call and "-Body $Body" in call
    assert "[byte[]]$Body" in code and "-Body '" not in code and '-Body "' not in code
    assert '"Bearer $env:FINTUNNEL_API_KEY"' in code and code.count("Bearer") == 1
    for only_in_7 in ("??", " ? ", "&&", "||", "-SkipHttpErrorCheck", "-Authentication", "-AsHashtable", "utf8NoBOM"):
        assert only_in_7 not in code


@pytest.mark.skipif(not POWERSHELLS, reason="no PowerShell here")
def test_the_powershell_script_runs(live_app: LiveApp, engine: InstantEngine) -> None:
    # The `python` that it calls is this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    arguments = ["-NoProfile", *(["-ExecutionPolicy", "Bypass"] if os.name == "nt" else [])]
    for powershell in POWERSHELLS:
        command = [powershell, *arguments, "-File", str(EXAMPLES / "powershell.ps1")]
        done = run(*command, **own(live_app), PATH=path)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert lines.count(f"{HEADLINE}: low / bearish") == 2 and lines.count(f"  {engine.text}") == 2
        assert lines.count("  忽略：影响 low，方向 bearish") == 3
        wrong = run(*command, **own(live_app) | {"FINTUNNEL_API_KEY": "wrong-key"}, PATH=path)
        assert wrong.returncode != 0 and "agent.py" not in wrong.stdout
