from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel.compat import DeepseekClient
from fintunnel.local_server import free_port
from fintunnel.transport.call import Answer, Budget, Call, Patience
from fintunnel.transport.sender import Sender

from tests.client.fault_server import Reply, chat_reply, fault_server


class OldAgent:
    """An agent of the kind that the old client has: it knows failures by their prefix and retries an exception
    by calling itself."""

    def __init__(self) -> None:
        self.client = DeepseekClient()
        self.depth = 0

    def summary(self, news: str) -> str:
        self.depth += 1
        assert self.depth < 3, "the agent recursed"
        try:
            answer = self.client.complete(f"总结：{news}", timeout_seconds=10.0)
        except Exception:
            return self.summary(news)
        return "无摘要" if answer.startswith("[错误]") else answer


def test_agent_is_swapped_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with fault_server(chat_reply("黄金走高")) as server:
        monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        assert OldAgent().summary("美联储降息") == "黄金走高"
        assert server.seen[0].path == "/v1/chat/completions"

        monkeypatch.setenv("FINTUNNEL_BACKEND", "deepseek")
        client = DeepseekClient(api_key="k", base_url=f"{server.url}/v1/chat/completions", model="deepseek-flash")
        assert client.complete_with_system("你是分析师", "你好") == "黄金走高"
        assert server.seen[1].path == "/v1/chat/completions"  # the very address that the agent gave
        assert [message["role"] for message in server.seen[1].body["messages"]] == ["system", "user"]


def test_failures_come_as_prefixed_text_and_never_as_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OldAgent().summary("x") == "无摘要"  # no key at all

    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    monkeypatch.setenv("FINTUNNEL_URL", f"http://127.0.0.1:{free_port()}")
    assert DeepseekClient().complete("x", retry_times=0).startswith("[错误] 连不上")

    Path(".env").write_bytes("FINTUNNEL_URL=http://127.0.0.1 # 本机".encode("gbk"))
    assert DeepseekClient().complete("x").startswith("[错误] 读取 .env 失败")
    Path(".env").unlink()

    monkeypatch.setenv("FINTUNNEL_BACKEND", "nonsense")
    assert OldAgent().summary("x") == "无摘要"


def test_a_passing_failure_is_tried_again_and_a_wrong_key_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    with fault_server(Reply(503), chat_reply("好了")) as server:
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        assert DeepseekClient().complete("x") == "好了"
    with fault_server(Reply(401)) as server:
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        assert DeepseekClient().complete("x").startswith("[错误] 密钥不正确")
        assert len(server.seen) == 1


def test_constructor_arguments_never_reach_the_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    with fault_server(chat_reply("好")) as server:
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        DeepseekClient(api_key="hosted-secret", base_url="https://elsewhere.example", model="m").complete("x")
    assert "hosted-secret" not in str(server.seen) and "authorization" not in server.seen[0].headers


def test_ten_seconds_become_a_minute_and_longer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    used: list[Patience] = []

    def keep(self: Sender, call: Call, budget: Budget) -> Answer:
        del self, call
        used.append(budget.patience)
        return Answer({"choices": [{"message": {"content": "好"}}]}, None, 0.0)

    monkeypatch.setattr(Sender, "send", keep)
    DeepseekClient().complete("x", timeout_seconds=10.0)
    DeepseekClient().complete("x", timeout_seconds=120.0, retry_times=0)
    assert used == [Patience(180.0, max_retries=2, read=60.0), Patience(120.0, max_retries=0, read=120.0)]


def test_more_attempts_than_make_sense_are_as_many_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    with fault_server(chat_reply("好")) as server:
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        assert DeepseekClient().complete("x", retry_times=1000) == "好"


def test_own_timeout_overrides_the_agents_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    monkeypatch.setenv("FINTUNNEL_TIMEOUT", "5")
    slow = chat_reply("慢")
    slow.drip, slow.drips = 0.2, 3
    with fault_server(slow) as server:
        monkeypatch.setenv("FINTUNNEL_URL", server.url)
        assert DeepseekClient().complete("x", timeout_seconds=0.1, retry_times=0) == "慢"


def test_retired_model_names_are_mapped_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "deepseek")
    with fault_server(chat_reply("好")) as server, pytest.warns(FutureWarning, match="deepseek-flash"):
        DeepseekClient(api_key="k", base_url=server.url, model="deepseek-chat").complete("x")
    assert server.seen[0].body["model"] == "deepseek-flash"
