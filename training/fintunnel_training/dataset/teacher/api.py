"""Asks an OpenAI-compatible chat API: paced, bounded, retried. Every way to fail has a name."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx
from fintunnel.prompt import Message

from fintunnel_training.dataset.teacher.cost import Budget, Tokens, prompt_tokens_at_most
from fintunnel_training.dataset.teacher.protocol import (
    Answer,
    Mode,
    NoAnswer,
    Response,
    Teacher,
    TeacherStopped,
    read_answer,
    request_body,
    simpler,
    status_error,
)
from fintunnel_training.dataset.teacher.url import is_loopback

__all__ = ["BudgetReached", "TeacherApi"]

_ATTEMPTS = 4
_LONGEST_WAIT = 60.0  # seconds; a server that asks for more is asked again all the same
_MAX_BYTES = 1 << 20


class BudgetReached(Exception):
    """The next request could exceed the budget; it was not sent."""


class TeacherApi:
    """A connection pool for one run; use as an async context manager."""

    def __init__(self, teacher: Teacher, budget: Budget) -> None:
        self._teacher = teacher
        self._budget = budget
        self._host = httpx.URL(teacher.url).host
        self._mode = Mode()
        self._next_slot = 0.0
        self.stopped: TeacherStopped | None = None
        self._wake = asyncio.Event()
        headers = {"Authorization": f"Bearer {teacher.api_key}"} if teacher.api_key else {}
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(teacher.timeout, connect=min(teacher.timeout, 10.0)),
            trust_env=not is_loopback(teacher.url),  # loopback never goes through the environment's proxy
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def stop(self, why: TeacherStopped) -> None:
        """No new request and no retry from now on; requests under way are still answered."""
        self.stopped = self.stopped or why
        self._wake.set()

    async def ask(self, messages: Sequence[Message]) -> Answer:
        """One answer, after retries where they help.

        Raises:
            NoAnswer: this question got none; the next one may.
            BudgetReached: it was not asked.
            TeacherStopped: no question will get one.
        """
        used, empty = Tokens(), 0
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self._attempt(messages)
            except NoAnswer as error:
                if error.reason == "refused" or attempt == _ATTEMPTS - 1:
                    raise
                wait = self._backoff(attempt) if error.wait is None else error.wait
                await self._pause(min(wait, _LONGEST_WAIT))
                continue
            used = used.plus(answer.tokens)
            if answer.content.strip() or answer.cut_off or empty:
                return answer._replace(tokens=used)
            empty += 1
        return Answer("", False, used)

    async def _attempt(self, messages: Sequence[Message]) -> Answer:
        expected = Tokens(prompt_tokens_at_most(messages), self._teacher.max_tokens)
        mode = self._mode
        while True:
            response = await self._send(request_body(self._teacher, messages, mode), expected)
            next_mode = simpler(mode, response) if response.status in (400, 422) else None
            if next_mode is None:
                break
            self._budget.settle(expected, Tokens())
            mode = next_mode
        if response.status != 200:
            self._budget.settle(expected, Tokens())
            raise status_error(self._teacher, response)
        self._mode = mode
        try:
            answer = read_answer(response.content, expected)
        except NoAnswer:
            self._budget.settle(expected, expected)  # answered, so perhaps billed
            raise
        self._budget.settle(expected, answer.tokens)
        return answer

    async def _send(self, body: dict[str, Any], expected: Tokens) -> Response:
        """POST within the total deadline. What comes back is still reserved: the caller settles it."""
        await self._wait_for_slot()
        if self.stopped is not None:
            raise self.stopped
        if not self._budget.reserve(expected):
            raise BudgetReached
        try:
            async with asyncio.timeout(self._teacher.timeout):
                async with self._http.stream("POST", self._teacher.url, json=body) as response:
                    content = bytearray()
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > _MAX_BYTES:
                            break  # no JSON answer of a few sentences: read as what it is not
                    return Response(response.status_code, response.headers.get("retry-after", ""), bytes(content))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._budget.settle(expected, Tokens())
            raise NoAnswer("connection", f"连不上 {self._host}：{type(error).__name__}") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            self._budget.settle(expected, expected)  # sent, so perhaps billed
            raise NoAnswer("timeout", f"{self._teacher.timeout:g} 秒内没有收完回答") from error
        except httpx.RequestError as error:
            self._budget.settle(expected, expected)
            raise NoAnswer("connection", f"与 {self._host} 的连接断开：{type(error).__name__}") from error

    async def _wait_for_slot(self) -> None:
        """Requests leave evenly spaced, so that no window of a minute ever holds more than `rate` of them."""
        now = time.monotonic()
        slot = max(now, self._next_slot)
        self._next_slot = slot + 60.0 / self._teacher.rate
        if slot > now:
            await self._pause(slot - now)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _backoff(self, attempt: int) -> float:
        return self._teacher.backoff * 2.0**attempt * random.uniform(0.75, 1.25)
