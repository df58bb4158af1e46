from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fintunnel
import pytest
from fintunnel.cli import main
from fintunnel.errors import ConnectionFailed, FinTunnelError
from fintunnel.local_server import LocalServer

from tests.live_app import LiveApp


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def test_analyze_prints_labels_and_bars(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    monkeypatch.setenv("FINTUNNEL_URL", live_app.url)
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")
    assert run("analyze", "美联储宣布加息25个基点") == 0
    shown = capsys.readouterr().out
    assert "影响  低" in shown and "33.3%" in shown and "金价短线或有波动。" in shown

    assert run("analyze", "美联储宣布加息25个基点", "--json", "--no-explain", "--adapter", "base") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["rationale"] is None and answer["model"]["adapter"] is None


def test_wrong_key_is_one_line_and_status_1(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    monkeypatch.setenv("FINTUNNEL_URL", live_app.url)
    monkeypatch.setenv("FINTUNNEL_API_KEY", "wrong-key")
    assert run("analyze", "加息") == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("[错误] 密钥不正确") and shown.err.count("\n") == 1
    assert "wrong-key" not in shown.err


def test_unknown_backend_is_wrong_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "gpt")
    assert run("analyze", "加息") == 2
    assert "只能是 deepseek 或 finetuned" in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "gpt")
    assert run("analyze", "加息", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_extra_is_named() -> None:
    """In a process of its own: taking modules away in this one would leave other tests with two of each."""
    code = "import sys; sys.modules['polars'] = None; from fintunnel.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "dataset", "build", "--db", "x.db", "--out", "x.jsonl"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2 and 'pip install "fintunnel[dataset]"' in done.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("dataset", "train", "serve", "analyze", "mcp"))


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"fintunnel {fintunnel.__version__}\n"


def test_chinese_comes_out_as_utf8_on_a_gbk_console(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "fintunnel", "dataset", "build", "--db", "没有.db", "--out", "x.jsonl"],
        env={**os.environ, "PYTHONIOENCODING": "gbk"},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.decode("utf-8").startswith("[错误] 找不到数据库文件：没有.db。")


def test_the_client_starts_without_the_model_libraries() -> None:
    code = (
        "import sys, fintunnel, fintunnel.cli, fintunnel.compat;"
        "heavy = {'torch', 'transformers', 'numpy', 'fastapi', 'polars'} & set(sys.modules); assert not heavy, heavy"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - began < 10  # seconds; a guard against importing torch, not a benchmark


def test_a_local_server_is_not_started_on_a_port_that_another_answers(live_app: LiveApp, tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="已被占用"):
        LocalServer([], log=tmp_path / "log.txt", port=int(live_app.url.rsplit(":", 1)[1]))


def test_every_error_is_documented_in_the_tree() -> None:
    import fintunnel.errors as errors

    tree = errors.__doc__ or ""
    kinds = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert all(name in tree for name in kinds)
    assert all(issubclass(getattr(errors, name), FinTunnelError) for name in kinds)


def test_wrong_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dataset", "build", "--window", "999") == 2
    error = capsys.readouterr().err
    assert error.startswith("[错误] 选项不对：") and "fintunnel dataset build --help" in error
    assert len(error.strip().splitlines()) == 1


def test_control_sequences_in_an_error_are_shown_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dataset", "check", "none\x1b]0;owned\x07.jsonl") == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error and "\x07" not in error and "\\x1b]0;owned" in error
