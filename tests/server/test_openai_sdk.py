"""OpenAI's own SDK and instructor on `/v1`: what they read, and what they raise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fintunnel_server.errors import EngineBusy
from pydantic import BaseModel

from tests.instant_engine import InstantConversation, InstantEngine
from tests.live_app import LiveApp
from tests.server.chat_requests import USER, chat


@pytest.fixture
def client(live_app: LiveApp) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live_app.url}/v1", api_key="right-key", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fintunnel", "tuned", "base"]
    assert client.models.retrieve("tuned").created == client.models.retrieve("base").created > 1_700_000_000
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("gpt-4")
    assert unknown.value.code == "unknown_model"


def test_a_full_queue_is_the_sdks_rate_limit(client: openai.OpenAI, engine: InstantEngine) -> None:
    engine.failure = EngineBusy("排队已满", retry_after=3.2)
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as busy:
            client.chat.completions.create(model="fintunnel", messages=USER, stream=stream)
        assert busy.value.response.headers["retry-after"] == "4"


def test_an_error_in_a_stream_is_raised_by_the_sdk(
    client: openai.OpenAI, engine: InstantEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = InstantConversation.reply

    async def broken(self: InstantConversation, **options: Any) -> Any:
        async for piece in plain(self, **options):
            yield piece
            raise RuntimeError("secret detail")

    monkeypatch.setattr(InstantConversation, "reply", broken)
    pieces = []
    with pytest.raises(openai.APIError, match="日志里的编号") as failed:
        for event in client.chat.completions.create(model="fintunnel", messages=USER, stream=True):
            pieces.append(event.choices[0].delta.content)
    assert pieces == ["", engine.text[0]] and "secret" not in str(failed.value)


def test_a_quiet_stream_is_kept_open(
    live_app: LiveApp, engine: InstantEngine, monkeypatch: pytest.MonkeyPatch, client: openai.OpenAI
) -> None:
    monkeypatch.setattr("fintunnel_server.running.streaming._ALIVE_SECONDS", 0.05)
    engine.text, engine.delay = "金", 0.2
    assert chat(live_app, stream=True).text.startswith(": alive\n\n")
    events = list(client.chat.completions.create(model="fintunnel", messages=USER, stream=True))
    assert events[1].choices[0].delta.content == "金"


class View(BaseModel):
    a: int


def test_instructor_reads_plain_json(client: openai.OpenAI, engine: InstantEngine) -> None:
    """In this mode instructor asks for any JSON and describes the schema itself."""
    import instructor

    patched = instructor.from_openai(client, mode=instructor.Mode.JSON)
    assert patched.chat.completions.create(model="fintunnel", messages=USER, response_model=View).a == 1
    assert engine.samplings[0].json_schema == {"type": "object"}


def test_instructor_asks_again_in_the_same_conversation(client: openai.OpenAI, engine: InstantEngine) -> None:
    import instructor
    from instructor.core.exceptions import InstructorRetryException

    engine.json = '{"a":"no number"}'
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        engine.samplings.clear()
        asked = len(engine.calls)
        patched = instructor.from_openai(client, mode=mode)
        with pytest.raises(InstructorRetryException, match="no number"):
            patched.chat.completions.create(model="fintunnel", messages=USER, response_model=View, max_retries=2)
        assert len(engine.calls) - asked >= 2  # not refused
