"""The fault matrix: each cell is a typed error, or the right answer after another attempt; never a wrong answer, never
a hang."""

from __future__ import annotations

import gc

import pytest
from fintunnel import (
    AuthenticationError,
    ConnectionFailed,
    QuotaError,
    RateLimitError,
    RequestTimeout,
    ServerFailure,
)

from tests.client.cells import ask, run_cell
from tests.client.faults import BACKENDS, CALLS, FAULTS, Fault
from tests.client.misbehaving_server import always, misbehaving_server
from tests.client.unreachable import UNREACHABLE

_LONGEST = 3.0  # s; of the 0.5 that a call has
# What is wrong with a request or an answer its message says.
SAY_WHAT_TO_DO = (ConnectionFailed, RequestTimeout, AuthenticationError, QuotaError, RateLimitError, ServerFailure)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_a_typed_error_or_healed(fault: Fault, backend: str, call: str, asynchronous: bool) -> None:
    cell = run_cell(fault, backend, call, asynchronous=asynchronous)
    expected = fault.expected(backend, call)
    assert cell.outcome == (expected if isinstance(expected, str) else expected.__name__), cell.error
    assert cell.attempts == fault.expected_attempts(backend, call)
    assert cell.waited >= fault.least_wait
    assert cell.seconds < _LONGEST
    if cell.error is not None:
        assert "secret-key" not in str(cell.error) and "secret-key" not in repr(cell.error)
        assert cell.error.advice or not isinstance(cell.error, SAY_WHAT_TO_DO)
        if fault.code == "some_code" or (fault.code and backend == "finetuned"):
            assert cell.error.code == fault.code and cell.error.status is not None
        if fault.code == "some_code":
            assert cell.error.request_id == "req-1" and "why（编号 req-1）" in str(cell.error)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", UNREACHABLE)
def test_who_cannot_be_reached_is_told_with_the_reason(name: str, backend: str, call: str, asynchronous: bool) -> None:
    start, reason = UNREACHABLE[name]
    with start() as server, pytest.raises(ConnectionFailed, match=reason) as caught:
        ask(server.url, backend, call, asynchronous=asynchronous, seconds=5.0)
    assert caught.value.advice and caught.value.status is None


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_handshake_that_nobody_answers_ends_in_time(asynchronous: bool) -> None:
    with misbehaving_server(always(b"")) as server, pytest.raises(RequestTimeout):
        url = server.url.replace("http://", "https://")
        ask(url, "finetuned", "analyze", asynchronous=asynchronous, seconds=0.5)
    gc.collect()  # a socket left open is a ResourceWarning, and warnings are errors here
