from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from fintunnel.chinese import LABELS_ZH
from fintunnel.cli import main
from fintunnel.wire import Direction, Edges, Impact
from fintunnel_training.dataset.labels import LabelledEvent
from fintunnel_training.dataset.rows import Choice
from fintunnel_training.dataset.rows import news_row as build_row
from fintunnel_training.dataset.sources.records import Event
from fintunnel_training.dataset.teacher.augment import with_rationale
from fintunnel_training.dataset.teacher.cost import Budget, Prices, Tokens

from tests.client.fault_server import Reply
from tests.dataset.augment_runs import CONTEXT, GOOD, OWN, Augment, news, news_row, rationale_reply, write_data
from tests.dataset.teacher_server import teacher_server


@pytest.fixture
def augment(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Augment:
    monkeypatch.delenv("TEACHER_API_KEY", raising=False)
    write_data(tmp_path / "in")
    return Augment(tmp_path, capsys)


# --- money, confirmation, interruption --------------------------------------------------------------------------------


def test_dry_run_estimates_and_sends_nothing(augment: Augment) -> None:
    with teacher_server(rationale_reply()) as server:
        ended = augment(server, "--dry-run", "--price-in", "2", "--price-out", "8", yes=False)
    assert (
        ended.status == 0 and "这次要问 6 条" in ended.out and "费用至多" in ended.out and "输出至多 1,200" in ended.out
    )
    assert not server.bodies and sorted(path.name for path in augment.folder.iterdir()) == ["in"]


def test_an_estimate_over_the_budget_is_refused_before_anything_is_sent(augment: Augment) -> None:
    with teacher_server(rationale_reply()) as server:
        ended = augment(server, "--budget", "0.001", "--price-in", "2", "--price-out", "8")
        assert ended.status == 2 and "超过 --budget" in ended.err
        ended = augment(server, "--budget", "1")
        assert ended.status == 2 and "--price-in" in ended.err
        assert not server.bodies


def test_asking_ends_where_the_budget_ends_and_what_was_paid_is_kept(augment: Augment) -> None:
    usage = {"prompt_tokens": 400, "completion_tokens": 1000}  # five times what --max-tokens promised
    reply = Reply(body=json.dumps(json.loads(rationale_reply().body) | {"usage": usage}).encode())
    with teacher_server(reply) as server:
        ended = augment(server, "--concurrency", "1", "--price-in", "0", "--price-out", "1000", "--budget", "2.1")
    assert ended.status == 0 and len(server.bodies) == 2  # 1 and 1 paid: another 0.2 would not fit
    assert augment.card["teacher"]["budget_reached"] and augment.card["teacher"]["cost"] == 2
    assert augment.rationales() == [GOOD] * 2 + [OWN] * 4 and "到了预算" in ended.out


def test_what_is_under_way_counts_against_the_budget() -> None:
    budget = Budget(1.0, Prices(0.0, 1000.0))
    assert budget.reserve(Tokens(0, 400)) and budget.reserve(Tokens(0, 400)) and not budget.reserve(Tokens(0, 400))
    budget.settle(Tokens(0, 400), Tokens(0, 100))
    assert budget.reserve(Tokens(0, 400)) and budget.used == Tokens(0, 100)


def test_on_a_terminal_it_asks_first(augment: Augment) -> None:
    pty = pytest.importorskip("pty")
    with teacher_server(rationale_reply()) as server:
        for typed, status, asked in ((b"n\n", 1, 0), (b"y\n", 0, 6)):
            master, slave = pty.openpty()
            os.write(master, typed)
            command = [sys.executable, "-m", "fintunnel", *augment.arguments(server.url)]
            ended = subprocess.run(command, stdin=slave, capture_output=True, timeout=20)
            os.close(master)
            os.close(slave)
            assert (ended.returncode, len(server.bodies)) == (status, asked)
            assert "开始发送？" in ended.stderr.decode()


def test_off_a_terminal_nothing_is_sent_without_yes(augment: Augment) -> None:
    with teacher_server(rationale_reply()) as server:
        ended = augment(server, yes=False)
    assert ended.status == 2 and "--yes" in ended.err and not server.bodies


@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupted_run_goes_on_where_it_stopped(augment: Augment, how: signal.Signals, status: int) -> None:
    write_data(augment.folder / "in", rows=12)
    with teacher_server(rationale_reply(), delay=0.1) as server:
        arguments = augment.arguments(server.url, "--yes", "--concurrency", "2")
        process = subprocess.Popen(
            [sys.executable, "-m", "fintunnel", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        _wait_for(lambda: len(server.bodies) >= 5)
        os.kill(process.pid, how)
        _, err = process.communicate(timeout=20)
        assert process.returncode == status and not augment.out.exists()
        if how != signal.SIGKILL:
            assert "再运行同一条命令" in err.decode() and "Traceback" not in err.decode()
        stored = _stored(augment)
        assert 3 <= stored <= len(server.bodies)  # whatever was answered before the signal
        time.sleep(0.3)  # what the killed process had sent is read by now
        _wait_for(lambda: server.in_flight == 0)
        server.forget()
        assert augment(server).status == 0
    assert len(server.bodies) == 12 - stored and augment.rationales() == [GOOD] * 12


def _stored(augment: Augment) -> int:
    with closing(sqlite3.connect(augment.folder / "out.teacher.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_an_answer_is_used_once_so_that_rows_of_one_question_stay_different(
    augment: Augment, capsys: pytest.CaptureFixture[str]
) -> None:
    again = news_row(news(0), "high")
    again["output"] = again["output"].replace(OWN, "同一条消息的另一种写法。")
    write_data(augment.folder / "in", more=[again])
    with teacher_server(rationale_reply()) as server:
        ended = augment(server)
    assert augment.rationales() == [GOOD] * 6 + ["同一条消息的另一种写法。"]
    assert "rationale_by" not in augment.rows()[6]["meta"] and "2 行与前面的题目相同" in ended.out
    with pytest.raises(SystemExit):
        main(["dataset", "check", str(augment.out), "--json"])
    assert "duplicate_rows" not in capsys.readouterr().out


@pytest.mark.parametrize("impact", get_args(Impact))
@pytest.mark.parametrize("direction", get_args(Direction))
def test_prose_rows_as_the_build_writes_them_keep_their_labels(impact: Impact, direction: Direction) -> None:
    edges = Edges(
        impact=(1.0, 2.0),
        direction=(-0.25, 0.25),
        priced_in_pre_return=0.004,
        wait_and_see_volatility=0.006,
        wait_and_see_pre_return=0.001,
    )
    size = {"low": 0.5, "medium": 1.5, "high": 2.5}[impact]
    if direction == "neutral":
        edges = edges.model_copy(update={"direction": (-9.0, 9.0)})
    reaction = -size if direction == "bearish" else size
    event = Event("e", "flash", 30_000_000, "某央行公告谈到利率的去向。", 3, None)
    row = build_row(Choice(LabelledEvent(event, 0.001, reaction, CONTEXT), "news", "news_prose"), edges, "train", 1)
    prefix = f"影响程度：{LABELS_ZH[impact]}；短线方向：{LABELS_ZH[direction]}。"
    assert row["output"].startswith(prefix)
    assert json.loads(with_rationale(json.dumps(row), GOOD, "teacher:t"))["output"] == prefix + GOOD


# --- files ----------------------------------------------------------------------------------------------------------


def test_nothing_that_is_read_is_written(augment: Augment) -> None:
    before = {path: path.read_bytes() for path in augment.data.parent.iterdir()}
    database = augment.folder / "market.jsonl"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE t (a)")
    before[database] = database.read_bytes()
    with teacher_server(rationale_reply()) as server:
        for out in (augment.data, augment.data.with_name("x.val.jsonl"), database):
            assert augment(server, "--out", str(out)).status == 2
        assert augment(server, "--cache", str(augment.data)).status == 2
        ended = augment(server, "--cache", str(database))
        assert ended.status == 1 and "不是教师回答的缓存" in ended.err
    assert all(path.read_bytes() == content for path, content in before.items()) and not server.bodies


def test_a_damaged_cache_is_named(augment: Augment) -> None:
    cache = augment.folder / "out.teacher.sqlite"
    cache.write_bytes(b"no database at all " * 100)
    with teacher_server(rationale_reply()) as server:
        ended = augment(server)
    assert ended.status == 1 and "out.teacher.sqlite" in ended.err and "删掉" in ended.err and not server.bodies


def test_a_damaged_row_of_the_cache_is_named(augment: Augment) -> None:
    with teacher_server(rationale_reply()) as server:
        assert augment(server).status == 0
        with sqlite3.connect(augment.folder / "out.teacher.sqlite") as cache:
            # What a repair of a damaged file leaves: the row without its counts.
            cache.execute("CREATE TABLE repaired AS SELECT * FROM answers")
            cache.execute("UPDATE repaired SET prompt_tokens = NULL")
            cache.execute("DROP TABLE answers")
            cache.execute("ALTER TABLE repaired RENAME TO answers")
        cache.close()
        ended = augment(server)
    assert ended.status == 1 and "out.teacher.sqlite" in ended.err and "删掉" in ended.err


def test_a_dataset_that_was_altered_or_is_incomplete_is_refused(augment: Augment) -> None:
    with teacher_server(rationale_reply()) as server:
        val = augment.data.with_name("x.val.jsonl")
        val.write_bytes(val.read_bytes().replace(b"high", b"low"))
        ended = augment(server)
        assert ended.status == 1 and "内容已改动" in ended.err
        val.unlink()
        assert "找不到" in augment(server).err and not server.bodies


def test_a_file_made_elsewhere_is_told_as_such_whatever_else_is_wrong_with_it(augment: Augment) -> None:
    line = json.dumps({"instruction": "问", "input": "", "output": "答", "meta": {"source": "x"}}, ensure_ascii=False)
    foreign = augment.folder / "foreign.jsonl"
    foreign.write_text(f"{line}\n" * 60 + "{broken\n", encoding="utf-8")
    augment.data.write_bytes(foreign.read_bytes())
    with teacher_server(rationale_reply()) as server:
        ended = augment(server)
    assert ended.status == 1 and "不是 fintunnel dataset build 写出的指令集" in ended.err and "61" not in ended.err
    assert ended.err.count("\n") == 1 and not server.bodies


def test_a_damaged_line_of_our_own_file_is_still_named(augment: Augment) -> None:
    augment.data.write_bytes(augment.data.read_bytes() + b"{broken\n")
    with teacher_server(rationale_reply()) as server:
        assert "第 10 行不是 JSON" in augment(server).err


def test_a_cache_that_cannot_be_made_is_told_before_anything_is_sent(augment: Augment) -> None:
    (augment.folder / "file").write_text("x", encoding="utf-8")
    with teacher_server(rationale_reply()) as server:
        ended = augment(server, "--cache", str(augment.folder / "file" / "c.sqlite"))
    assert ended.status == 1 and "c.sqlite" in ended.err and not server.bodies


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--teacher-url", "api.example.com"], "http"),
        (["--teacher-url", "https://me:pass@api.example.com"], "不能带密码"),
        (["--teacher-url", "https://api.example.com"], "TEACHER_API_KEY"),
        (["--teacher-key-env", "sk-abcdef"], "不是密钥本身"),
        (["--teacher-key-env", "UNSET_VARIABLE"], "没有设置"),
        (["--splits", "train,all"], "--splits"),
    ],
)
def test_wrong_use_is_told_in_one_line(augment: Augment, more: list[str], words: str) -> None:
    with teacher_server(rationale_reply()) as server:
        ended = augment(server, *more)
    assert ended.status == 2 and words in ended.err and ended.err.count("\n") == 1
    assert "sk-abcdef" not in ended.err and "pass@" not in ended.err and not server.bodies
