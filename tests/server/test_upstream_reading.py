"""What an upstream sends, read without trusting it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping

import pytest
from fintunnel_server.engine import Field
from fintunnel_server.errors import (
    SettingsError,
    UpstreamAnswerInvalid,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)
from fintunnel_server.upstream.address import adapter_name, api_url, extra_fields, is_loopback
from fintunnel_server.upstream.replies import (
    TopToken,
    beginning,
    read_reply,
    status_failure,
    stream_failure,
)
from fintunnel_server.upstream.scoring import at_token_boundary, score_field
from fintunnel_server.upstream.token_estimate import ASCII_SAMPLE, UNMEASURED, WIDE_SAMPLE, measured


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": None, "usage": []},
        {"choices": {"a": 1}},
        {"choices": ["x"]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"top_logprobs": [{}]}]}}]},
        {"choices": [{"message": {}, "logprobs": {"content": [{"top_logprobs": [{"token": "a", "logprob": "b"}]}]}}]},
        {
            "choices": [
                {"message": {}, "logprobs": {"content": [{"top_logprobs": [{"token": "a", "logprob": math.nan}]}]}}
            ]
        },
    ],
)
def test_an_answer_of_another_shape_is_invalid(body: dict[str, object]) -> None:
    with pytest.raises(UpstreamAnswerInvalid):
        read_reply(body)


def test_an_answer_is_read_as_far_as_it_makes_sense() -> None:
    reply = read_reply(
        {
            "choices": [{"delta": {"content": "金\ud800"}, "finish_reason": "length", "logprobs": None}],
            "usage": {"prompt_tokens": -3, "completion_tokens": True},
        }
    )
    assert (reply.text, reply.finish_reason, reply.top_tokens) == ("金", "length", [])
    assert reply.prompt_tokens is None and reply.completion_tokens is None
    assert read_reply({"choices": [], "usage": {"prompt_tokens": 3}}).prompt_tokens == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, UpstreamRefused),
        (400, UpstreamRefused),
        (401, UpstreamRefused),
        (429, UpstreamOverloaded),
        (500, UpstreamError),
        (502, UpstreamUnreachable),
        (503, UpstreamOverloaded),
        (504, UpstreamUnreachable),
    ],
)
def test_a_status_becomes_an_error_that_shows_callers_nothing(status: int, kind: type[UpstreamError]) -> None:
    content = b'{"error":{"message":"bad key sk-1234 at 10.0.0.7","code":"context_length_exceeded"}}'
    failure = status_failure(status, {"retry-after": "7"}, content, now=0, secret="sk-1234")
    assert type(failure) is kind
    assert "10.0.0.7" not in str(failure) and "sk-1234" not in str(failure) + failure.detail
    assert ("context_length_exceeded" in failure.detail) == (status != 401)
    assert failure.retry_after == (7 if isinstance(failure, UpstreamOverloaded) else None)


def test_what_is_shown_of_an_answer_holds_no_part_of_the_key() -> None:
    for before in range(80, 105):  # also where it would be cut in the middle
        assert "sk-1" not in beginning(b"x" * before + b"sk-1234 \xff", "sk-1234")
    for before in range(280, 305):
        content = json.dumps({"error": {"message": "x" * before + "sk-1234"}}).encode()
        assert "sk-1" not in status_failure(500, {}, content, now=0, secret="sk-1234").detail


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"error":[]}', b'{"error":"x"}', b"[" * 100_000])
def test_an_error_body_of_any_shape_is_read(content: bytes) -> None:
    assert "HTTP 500" in status_failure(500, {}, content, now=0, secret="").detail


def test_errors_within_a_stream_are_found() -> None:
    assert stream_failure({"choices": [], "error": None}, secret="") is None
    assert isinstance(stream_failure({"error": {"message": "busy", "code": 503}}, secret=""), UpstreamOverloaded)
    assert type(stream_failure({"error": "broken"}, secret="")) is UpstreamError
    assert isinstance(stream_failure({"object": "error", "message": "x", "code": 400}, secret=""), UpstreamRefused)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/api/paas/v4", "https://host/api/paas/v4"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        ("https://host/llm", "https://host/llm/v1"),
    ],
)
def test_an_address_is_made_whole(address: str, url: str) -> None:
    assert api_url(address) == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host:8000",
        "ftp://host",
        "http://",
        "http://u:secret@host",
        "http://host/?key=secret",
        "http://h:99999/",
        "\0",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        api_url(address)
    assert "secret" not in str(refused.value) and "\n" not in str(refused.value)


def test_names_and_hosts() -> None:
    assert [adapter_name(m) for m in ("gold", "/models/gold/", "me/gold", r"C:\m\gold.gguf")] == [
        "gold",
        "gold",
        "gold",
        "gold.gguf",
    ]
    for model in ("", "/", "me/base"):
        with pytest.raises(SettingsError):
            adapter_name(model)
    assert is_loopback("http://[::1]:1/v1") and is_loopback("http://127.0.0.9") and not is_loopback("http://10.0.0.1")
    assert "thinking" in extra_fields("https://api.deepseek.com/v1") and not extra_fields("https://deepseek.com.evil")


def test_the_estimate_is_above_what_the_upstream_counted() -> None:
    estimate = measured(30, 30 + 2 * len(WIDE_SAMPLE), 30 + len(ASCII_SAMPLE) // 3)
    assert estimate([{"role": "user", "content": WIDE_SAMPLE}]) > 30 + 2 * len(WIDE_SAMPLE)
    assert estimate([{"role": "user", "content": ASCII_SAMPLE}]) > 30 + len(ASCII_SAMPLE) // 3
    assert measured(None, 5, 5) == UNMEASURED
    nonsense = measured(30, 30, 10**9)
    assert (nonsense.per_wide, nonsense.per_ascii) == (UNMEASURED.per_wide, UNMEASURED.per_ascii)


# --- scoring ----------------------------------------------------------------------------------------

LABELS = {label: f'{label}","next":"' for label in ("bearish", "neutral", "bullish")}
BEFORE = '{"direction":"'


def score(field: Field, table: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, float] | None, list[str]]:
    """The probabilities, and the beginnings that were asked about."""
    asked: list[str] = []

    async def next_tokens(prefix: str) -> list[TopToken]:
        asked.append(prefix)
        return [TopToken(text, p) for text, p in table.get(prefix, {}).items()]

    return asyncio.run(score_field(field, next_tokens)), asked


def test_shares_are_renormalised_over_the_tokens_that_support_a_choice() -> None:
    found, asked = score(Field(BEFORE, LABELS), {BEFORE: {"bear": 0.1, "neutral": 0.1, 'bullish",': 0.2, "x": 0.6}})
    assert found == pytest.approx({"bearish": 0.25, "neutral": 0.25, "bullish": 0.5})
    assert asked == [BEFORE]


def test_a_token_that_supports_several_choices_is_asked_about() -> None:
    table = {BEFORE: {"b": 0.3, "neutral": 0.1}, BEFORE + "b": {"ull": 0.2, "ear": 0.1, "ad": 0.7}}
    found, asked = score(Field(BEFORE, LABELS), table)
    assert found == pytest.approx({"bearish": 0.25, "neutral": 0.25, "bullish": 0.5})
    assert asked == [BEFORE, BEFORE + "b"]


def test_of_a_choices_tokens_the_longest_counts() -> None:
    tokens = {"b": 0.3, "bear": 0.2, "be": 0.1, "bull": 0.1, "n": 0.05, "neutral": 0.1}
    found, asked = score(Field(BEFORE, LABELS), {BEFORE: tokens})
    assert found == pytest.approx({"bearish": 0.5, "neutral": 0.25, "bullish": 0.25}) and asked == [BEFORE]


def test_what_hardly_matters_is_not_asked_about() -> None:
    _, asked = score(Field(BEFORE, LABELS), {BEFORE: {"neutral": 0.9999, "b": 0.0001}})
    assert asked == [BEFORE]


def test_a_choice_that_no_token_supports_gets_nothing() -> None:
    found, _ = score(Field(BEFORE, LABELS), {BEFORE: {"neutral": 0.2, "": 0.7}})
    assert found == {"bearish": 0.0, "neutral": 1.0, "bullish": 0.0}
    found, _ = score(Field(BEFORE, LABELS), {BEFORE: {"b": 0.5, "neutral": 0.5}})  # nothing known after "b"
    assert found == {"bearish": 0.0, "neutral": 1.0, "bullish": 0.0}


def test_no_supported_choice_is_no_probability() -> None:
    assert score(Field(BEFORE, LABELS), {BEFORE: {"": 0.9, "x": 0.1}})[0] is None
    assert score(Field(BEFORE, LABELS), {})[0] is None


def test_a_token_across_the_prefixs_end_is_seen() -> None:
    field = Field('{"citations":[', {"": '],"answer":"', "0": "0", "1": "1"})
    table = {'{"citations': {'":[],"': 0.6, '":[': 0.4}, '{"citations":[': {"0": 0.5, "1": 0.25, "]": 0.25}}
    found, _ = score(field, table)
    assert found == pytest.approx({"": 0.6, "0": 0.4 * 2 / 3, "1": 0.4 / 3})


def test_a_boundary_between_words_and_signs_is_left_alone() -> None:
    for field in (Field(BEFORE, LABELS), Field('{"citations":[0', {"": '],"answer":"', "1": ",1"}), Field("", LABELS)):
        assert at_token_boundary(field) is field


def test_choices_that_begin_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="beginning of another"):
        score(Field("", {"1": "1", "10": "10"}), {})
