"""`fintunnel analyze`, `chat` and `check` as a person or a script calls them, against the real app."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fintunnel.cli import main
from fintunnel.local_server import free_port

from tests.client.fault_server import Reply, fault_server
from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp


@pytest.fixture(autouse=True)
def _own_server(live_app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    monkeypatch.setenv("FINTUNNEL_URL", live_app.url)
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")


def run(*arguments: str, stdin: bytes = b"", gbk: bool = False) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | ({"PYTHONIOENCODING": "gbk"} if gbk else {})
    return subprocess.run(
        [sys.executable, "-m", "fintunnel", *arguments],
        input=stdin, capture_output=True, env=environment, check=False, timeout=60,
    )  # fmt: skip


def here(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_a_file_of_any_encoding_becomes_a_table(encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("news.txt").write_text("美联储宣布加息25个基点\r\n\r\n非农数据好于预期\r\n", encoding=encoding)
    assert here("analyze", "--file", "news.txt") == 0
    shown = capsys.readouterr()
    assert "美联储宣布加息25个基点" in shown.out and "非农数据好于预期" in shown.out
    assert shown.out.count("金价短线或有波动。") == 2 and "低 33%" in shown.out


def test_a_pipe_is_read_and_json_comes_a_line_each() -> None:
    done = run("analyze", "-", "--json", "--no-explain", stdin="一\n二\n".encode(), gbk=True)
    assert done.returncode == 0
    objects = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
    assert [each["text"] for each in objects] == ["一", "二"]
    assert objects[0]["analysis"]["impact"] == "low" and objects[0]["analysis"]["rationale"] is None


def test_csv_is_for_excel_and_no_cell_is_a_formula(engine: InstantEngine) -> None:
    engine.text = "=HYPERLINK(1)"
    Path("news.txt").write_text("=cmd|' /C calc'!A0\n@x\n加息", encoding="utf-8")
    assert here("analyze", "--file", "news.txt", "--out", "结果.csv") == 0
    content = Path("结果.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["text"] for row in rows] == ["'=cmd|' /C calc'!A0", "'@x", "加息"]
    assert rows[2]["impact"] == "low" and float(rows[2]["impact_low"]) == pytest.approx(1 / 3)
    assert rows[2]["rationale"] == "'=HYPERLINK(1)" and rows[2]["adapter"] == "tuned" and rows[2]["error"] == ""


def test_one_bad_line_loses_nothing_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("news.txt").write_text("加息\n" + "长" * 5000 + "\n降息", encoding="utf-8")
    assert here("analyze", "--file", "news.txt", "--json") == 1
    shown = capsys.readouterr()
    good, bad, last = (json.loads(line) for line in shown.out.splitlines())
    assert good["analysis"] and last["analysis"] and bad["error"]["kind"] == "InvalidRequestError"
    assert "3 条里有 1 条分析失败" in shown.err
    assert here("analyze", "--file", "news.txt", "--csv") == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert "4000" in rows[1]["error"] and rows[1]["impact"] == "" and rows[2]["impact"] == "low"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze"], "要么给一条消息"),
        (["analyze", "x", "--file", "y"], "要么给一条消息"),
        (["analyze", "x", "--json", "--csv"], "只能用一个"),
        (["analyze", "x", "--nope"], "fintunnel analyze --help"),
        (["analyze", "x", "--file"], "选项不对"),
        (["check", "--timeout", "0"], "选项不对"),
        (["nonsense"], "没有这个命令：nonsense"),
        (["analyze", "加息", "25个基点"], "请加引号"),
        (["analyze", "加息", "--json", "--out", "x.csv"], "请改用 --csv"),
        (["analyze", "--file", "没有.txt"], "无法读取"),
        (["analyze", "--file", "empty.txt"], "没有消息"),
        (["analyze", "--file", "binary.txt"], "不是文本"),
        (["analyze", "加息", "--json", "--out", "没有的目录/x.json"], "无法写入"),
        (["analyze", "加息", "--out", "."], "无法写入"),
        (["analyze", "--file", "news.txt", "--out", "news.txt"], "会覆盖"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("news.txt").write_text("加息", encoding="utf-8")
    Path("empty.txt").write_bytes(b"\n \n")
    Path("binary.txt").write_bytes(bytes(range(256)))
    assert here(*arguments) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.startswith("[错误]") and shown.count("\n") == 1


def test_rows_say_what_went_wrong_and_the_advice_stands_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FINTUNNEL_API_KEY")
    Path("news.txt").write_text("加息\n降息\n" + "长" * 3000, encoding="utf-8")
    assert here("analyze", "--file", "news.txt") == 1
    shown = capsys.readouterr()
    assert shown.out.count("密钥不正确") == 3 and "请把 FINTUNNEL_API_KEY" not in shown.out
    assert shown.err.count("请把 FINTUNNEL_API_KEY") == 1 and shown.out.count("长") == 120


def test_control_sequences_of_a_model_are_shown_not_sent(
    engine: InstantEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.text = "金价[bold]\x1b]0;owned\x07走高"
    assert here("analyze", "加\x1b[2J息") == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("你好\n"))
    assert here("chat") == 0
    Path("news.txt").write_text("加\x1b[2J息\n降息", encoding="utf-8")
    assert here("analyze", "--file", "news.txt") == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown and "[bold]" in shown


def test_check_says_who_will_answer(live_app: LiveApp, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("check") == 0
    shown = capsys.readouterr().out
    assert f"地址  {live_app.url}" in shown and "模型  fintunnel：instant + tuned" in shown and "毫秒" in shown
    assert here("check", "--json") == 0
    assert json.loads(capsys.readouterr().out)["adapter"] == "tuned"


def test_check_of_a_silent_server_names_its_own_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are accepted, nothing is answered
        monkeypatch.setenv("FINTUNNEL_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert here("check", "--timeout", "2") == 1
    shown = capsys.readouterr().err
    assert "2 秒内没有得到" in shown and "--timeout" in shown and "FINTUNNEL_TIMEOUT" not in shown


def test_check_of_nobody_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINTUNNEL_URL", f"http://127.0.0.1:{free_port()}")
    assert here("check") == 1
    assert "没有程序在监听" in capsys.readouterr().err


def test_a_chat_is_streamed_and_remembers(engine: InstantEngine) -> None:
    done = run("chat", "--system", "你是分析师", stdin="你好\n再见\n/clear\n/exit\n不再读".encode())
    assert done.returncode == 0, done.stderr.decode()
    shown = done.stdout.decode()
    assert shown.count(engine.text) == 2 and "finetuned：instant" in shown and "已清空" in shown


def test_a_chat_goes_on_after_a_failure(engine: InstantEngine) -> None:
    engine.failure = RuntimeError("broken")
    done = run("chat", stdin="你好\n/exit\n".encode())
    assert done.returncode == 0 and "[错误] 服务出错" in done.stderr.decode()


def test_a_chat_that_grew_too_long_drops_its_oldest_turns(engine: InstantEngine) -> None:
    engine.context_tokens = 700
    engine.text = "长" * 100
    done = run("chat", "--max-tokens", "120", stdin=("\n".join(["问" * 100] * 5) + "\n/exit\n").encode())
    assert done.returncode == 0 and done.stderr == b"", done.stderr.decode()
    assert done.stdout.decode().count(engine.text) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone there")
def test_ctrl_c_keeps_what_was_answered(engine: InstantEngine) -> None:
    Path("news.txt").write_text("\n".join(f"第{number}条" for number in range(64)), encoding="utf-8")
    engine.delay = 0.15  # for each of nine characters: a batch takes more than a second
    command = [sys.executable, "-m", "fintunnel", "analyze", "--file", "news.txt", "--json", "--out", "out.jsonl"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while len(engine.calls) < 200 and time.monotonic() < deadline:  # two batches of 80 are done
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130 and "已中断" in error.decode()
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) < 64 and all("analysis" in json.loads(line) for line in lines)


@pytest.mark.parametrize("out", [".", "没有的目录/x.json", "news.txt"])
def test_a_result_that_could_not_be_written_is_not_asked_for(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("news.txt").write_text("加息", encoding="utf-8")
    with fault_server(Reply(500)) as server:
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        assert here("analyze", "--file", "news.txt", "--json", "--out", out) == 2
    assert server.seen == [] and Path("news.txt").read_text(encoding="utf-8") == "加息"


@pytest.mark.skipif(sys.platform == "win32", reason="no device of that kind there")
def test_a_device_stays_one() -> None:
    assert here("analyze", "加息", "--json", "--out", "/dev/null") == 0
    assert not Path("/dev/null").is_file()
