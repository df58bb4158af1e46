from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.client.fault_server import Reply, chat_reply
from tests.dataset.augment_runs import GOOD, OWN, Augment, error_reply, news, rationale_reply, write_data
from tests.dataset.teacher_server import Asked, teacher_server


@pytest.fixture
def augment(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Augment:
    monkeypatch.delenv("TEACHER_API_KEY", raising=False)
    write_data(tmp_path / "in")
    return Augment(tmp_path, capsys)


@pytest.mark.parametrize(("status", "words"), [(401, "不接受密钥"), (402, "余额不足"), (404, "地址或模型名不对")])
def test_what_no_retry_mends_stops_at_once_and_loses_nothing(augment: Augment, status: int, words: str) -> None:
    def answer(asked: Asked) -> Reply:
        return rationale_reply() if asked.number < 2 else error_reply(status, "bad key sk-123")

    with teacher_server(answer) as server:
        ended = augment(server, "--concurrency", "1")
        assert ended.status == 1 and words in ended.err and "Traceback" not in ended.err
        assert "2 条回答已存进" in ended.err and len(server.bodies) == 3 and not augment.out.exists()
        assert "sk-123" not in ended.err or status != 401
        server.forget()
        server.answer = rationale_reply()
        assert augment(server, "--limit", "0", yes=False).status == 0  # from what is there, asking nothing
        assert augment.rationales() == [GOOD] * 2 + [OWN] * 4 and not server.bodies
        assert augment(server).status == 0
    assert len(server.bodies) == 4 and augment.rationales() == [GOOD] * 6


def test_an_empty_balance_told_with_429_stops_too(augment: Augment) -> None:
    body = json.dumps({"error": {"message": "quota", "code": "insufficient_quota"}}).encode()
    with teacher_server(Reply(429, body)) as server:
        ended = augment(server, "--concurrency", "1")
    assert ended.status == 1 and "余额不足" in ended.err and len(server.bodies) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_retried_after_the_time_that_the_server_names(augment: Augment, status: int) -> None:
    def answer(asked: Asked) -> Reply:
        return error_reply(status, Retry_After="0.3") if asked.number == 0 else rationale_reply()

    with teacher_server(answer) as server:
        ended = augment(server, "--concurrency", "1")
    assert ended.status == 0 and augment.rationales() == [GOOD] * 6 and len(server.bodies) == 7
    assert server.bodies[0] == server.bodies[1] and server.times[1] - server.times[0] >= 0.3


def test_a_row_whose_retries_fail_keeps_its_rationale_and_is_counted(augment: Augment) -> None:
    failing = news(2).text

    def answer(asked: Asked) -> Reply:
        return error_reply(500, Retry_After="0") if failing in asked.text else rationale_reply()

    with teacher_server(answer) as server:
        ended = augment(server)
        assert ended.status == 0 and augment.rationales() == [GOOD] * 2 + [OWN] + [GOOD] * 3
        assert len(server.bodies) == 5 + 4 and augment.card["teacher"]["failed"] == {"server": 1}
        assert "没有得到回答 1 个（5xx 服务出错 1）" in ended.out
        server.forget()
        server.answer = rationale_reply()
        augment(server)
    assert len(server.bodies) == 1  # a failure is no answer: it is asked again


def test_a_teacher_that_keeps_failing_stops_the_run(augment: Augment) -> None:
    write_data(augment.folder / "in", rows=30)
    with teacher_server(error_reply(500, "down\x1b[31m", Retry_After="0")) as server:
        ended = augment(server)
    assert (
        ended.status == 1 and "连续 8 次" in ended.err and "5xx 服务出错" in ended.err and "\x1b[31m" not in ended.err
    )
    assert len(server.bodies) <= 4 * 12 and not augment.out.exists()


def test_nobody_at_the_address_is_named(augment: Augment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_training.dataset.teacher.api._ATTEMPTS", 1)
    write_data(augment.folder / "in", rows=10)
    with teacher_server(rationale_reply()) as server:
        pass  # gone again
    ended = augment(server)
    assert ended.status == 1 and "连不上 127.0.0.1" in ended.err
    ended = augment(server, "--limit", "5")  # too few to be stopped on the way
    assert ended.status == 1 and "问了 5 个题目" in ended.err and "连接失败 5；" in ended.err
    assert "连不上 127.0.0.1" in ended.err and "没有写出" in ended.err
    assert [path.name for path in augment.folder.iterdir()] == ["in"]


def test_a_key_that_is_not_taken_leaves_no_file_behind(augment: Augment) -> None:
    with teacher_server(error_reply(401)) as server:
        ended = augment(server, "--cache", str(augment.folder / "new" / "c.sqlite"))
    assert ended.status == 1 and "不接受密钥" in ended.err and "已存进" not in ended.err
    assert [path.name for path in augment.folder.iterdir()] == ["in"]


def test_a_teacher_that_never_does_as_asked_is_not_paid_to_the_end(augment: Augment) -> None:
    write_data(augment.folder / "in", rows=60)

    def answer(asked: Asked) -> Reply:
        return rationale_reply("太短。") if asked.number % 4 == 0 else chat_reply("\x1b[2J好的，" + "我来分析。" * 40)

    with teacher_server(answer) as server:
        ended = augment(server, "--concurrency", "1")
        assert ended.status == 1 and len(server.bodies) == 20 and not augment.out.exists()
        assert "连续 20 条回答都被拒收" in ended.err and "最常见的原因：不是 JSON，15 条" in ended.err
        assert "\\x1b[2J好的，我来分析。" in ended.err and "\x1b" not in ended.err
        assert "我来分析。" * 20 not in ended.err
        assert "--teacher-model" in ended.err and "--retry-rejected" in ended.err and "--limit 0" in ended.err
        server.forget()
        server.answer = rationale_reply()
        assert augment(server).status == 0
    assert len(server.bodies) == 40 and augment.rationales() == [OWN] * 20 + [GOOD] * 40


def test_rejections_among_accepted_answers_do_not_stop_the_run(augment: Augment) -> None:
    write_data(augment.folder / "in", rows=44)

    def answer(asked: Asked) -> Reply:
        return rationale_reply() if asked.number == 19 else chat_reply("好的。")

    with teacher_server(answer) as server:
        ended = augment(server, "--concurrency", "1")
    assert ended.status == 1 and len(server.bodies) == 40  # 19 before the accepted one, 20 after it
    with teacher_server(answer) as server:
        ended = augment(server, "--concurrency", "1", "--limit", "30", "--cache", "other.sqlite")
    assert ended.status == 0 and augment.rationales().count(GOOD) == 1


def test_a_short_run_without_an_accepted_answer_writes_nothing_but_the_cache_may(augment: Augment) -> None:
    with teacher_server(chat_reply("好的。")) as server:
        ended = augment(server, "--limit", "3")
        assert ended.status == 1 and "拒收 3 个（最常见的原因：不是 JSON，3 条，例如：好的。）" in ended.err
        assert not augment.out.exists() and not (augment.folder / "out.card.json").exists()
        server.forget()
        ended = augment(server, "--limit", "0", yes=False)
    assert ended.status == 0 and "没有采纳任何" in ended.err and augment.rationales() == [OWN] * 6 and not server.bodies


def test_empty_content_is_asked_once_more_then_rejected(augment: Augment) -> None:
    seen: dict[str, int] = {}

    def answer(asked: Asked) -> Reply:
        seen[asked.text] = seen.get(asked.text, 0) + 1
        if news(0).text in asked.text or (news(1).text in asked.text and seen[asked.text] == 1):
            return chat_reply("")
        return rationale_reply()

    with teacher_server(answer) as server:
        augment(server)
    assert len(server.bodies) == 8 and augment.rationales() == [OWN] + [GOOD] * 5
    assert augment.card["teacher"]["rejected"] == {"empty": 1}
    assert augment.card["teacher"]["prompt_tokens"] == 8 * 11  # the empty ones were paid for too


def test_bytes_that_keep_the_line_alive_do_not_stretch_the_deadline(
    augment: Augment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fintunnel_training.dataset.teacher.api._ATTEMPTS", 1)

    def answer(asked: Asked) -> Reply:
        reply = rationale_reply()
        return Reply(body=reply.body, drip=0.05, drips=1200 if news(3).text in asked.text else 1)  # a minute of bytes

    started = time.monotonic()
    with teacher_server(answer) as server:
        ended = augment(server, "--timeout", "3")  # seconds: on a busy machine the other five still make it
    assert ended.status == 0 and time.monotonic() - started < 30
    assert augment.card["teacher"]["failed"] == {"timeout": 1} and augment.card["teacher"]["accepted"] == 5


def test_a_web_page_instead_of_an_answer_is_a_failure_not_a_crash(
    augment: Augment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fintunnel_training.dataset.teacher.api._ATTEMPTS", 1)
    with teacher_server(Reply(body=b"<html>login</html>")) as server:
        ended = augment(server)
    assert ended.status == 1 and "回答不是 API 的格式 6" in ended.err and not augment.out.exists()


def test_a_server_without_json_mode_is_asked_without_and_it_is_remembered(augment: Augment) -> None:
    def answer(asked: Asked) -> Reply:
        return error_reply(400, "unknown field") if "response_format" in asked.body else rationale_reply()

    with teacher_server(answer) as server:
        ended = augment(server, "--concurrency", "1")
    assert ended.status == 0 and augment.rationales() == [GOOD] * 6 and len(server.bodies) == 7


def test_a_server_that_names_another_token_limit_gets_it(augment: Augment) -> None:
    def answer(asked: Asked) -> Reply:
        refused = error_reply(400, "use max_completion_tokens instead")
        return refused if "max_tokens" in asked.body else rationale_reply()

    with teacher_server(answer) as server:
        augment(server, "--concurrency", "1")
    assert augment.rationales() == [GOOD] * 6 and len(server.bodies) == 7
    assert "response_format" in server.questions[-1]


def test_a_refused_question_is_counted_and_the_rest_goes_on(augment: Augment) -> None:
    def answer(asked: Asked) -> Reply:
        risky = news(2).text in asked.text
        return error_reply(400, "content risk") if risky else rationale_reply()

    with teacher_server(answer) as server:
        augment(server)
    assert augment.card["teacher"]["failed"] == {"refused": 1} and augment.card["teacher"]["accepted"] == 5


def test_failures_among_answers_do_not_stop_the_run(augment: Augment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_training.dataset.teacher.api._ATTEMPTS", 1)
    write_data(augment.folder / "in", rows=24)
    with teacher_server(lambda asked: error_reply(500) if asked.number % 2 else rationale_reply()) as server:
        ended = augment(server, "--concurrency", "1")
    assert ended.status == 0 and augment.card["teacher"]["failed"] == {"server": 12}
