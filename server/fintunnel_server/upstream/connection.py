"""HTTP to one upstream: a bounded pool, retries while nothing of an answer has come, every failure as a typed error.

No total deadline here: callers cancel, and a cancelled call closes its connection, so that the upstream stops too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx
from fintunnel.transport.sse import EventReader, EventTooLarge
from pydantic import SecretStr

from fintunnel_server.errors import (
    SettingsError,
    UpstreamAnswerInvalid,
    UpstreamOverloaded,
    UpstreamUnreachable,
)
from fintunnel_server.upstream.address import is_loopback
from fintunnel_server.upstream.replies import Reply, beginning, read_reply, status_failure, stream_failure

__all__ = ["Connection", "Waiting"]

logger = logging.getLogger("fintunnel.upstream")

_ATTEMPTS = 4
_BACKOFF_SECONDS = 0.5  # before the first retry; doubles, and a quarter of it at random, so that callers spread out
_LONGEST_WAIT = 10.0  # an upstream that asks for more is not waited for: the caller is told how long
_CONNECT_SECONDS = 10.0
_MAX_BYTES = 16 << 20


class Waiting:
    """The seconds that calls waited for one of the pool's connections."""

    def __init__(self) -> None:
        self.seconds = 0.0


class Connection:
    """Use as an async context manager, or close with `close`.

    Args:
        url: what stands before `/chat/completions`. The key goes there and nowhere else: no redirect is followed.
        connections: how many requests are sent at once; more wait.
        backoff: seconds before the first retry.
    """

    def __init__(
        self, url: str, api_key: SecretStr | None, *, connections: int = 128, backoff: float = _BACKOFF_SECONDS
    ) -> None:
        self.url = url
        self._secret = api_key.get_secret_value() if api_key is not None else ""
        self._slots = asyncio.Semaphore(connections)
        self._backoff = backoff
        headers = {
            "Accept-Encoding": "identity"
        }  # a stream's pieces come at once, and no small body becomes a huge one
        if self._secret:
            headers["Authorization"] = f"Bearer {self._secret}"
        try:
            self._http = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=connections + 1, max_keepalive_connections=connections),
                trust_env=not is_loopback(url),  # loopback never goes through the environment's proxy
                follow_redirects=False,
            )
        except (httpx.InvalidURL, ValueError, OSError, ImportError) as error:
            raise SettingsError(f"代理或证书设置无效：{error}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, *, timeout: float) -> dict[str, Any]:
        """GET a JSON object once, outside the bounded pool: a full pool is not a sick upstream.

        Raises:
            UpstreamError: the subclass that says what went wrong.
        """
        try:
            async with asyncio.timeout(timeout), self._response("GET", path, None) as response:
                return _object(await _content(response), self._secret)
        except TimeoutError as error:
            raise UpstreamUnreachable("上游模型服务没有及时回答", detail=f"{timeout:g} s") from error

    async def complete(self, body: dict[str, Any], waiting: Waiting) -> Reply:
        """A whole chat completion.

        Raises:
            UpstreamError: the subclass that says what went wrong, after retries where they may help.
        """
        for attempt in range(_ATTEMPTS):
            try:
                async with self._slot(waiting), self._response("POST", "/chat/completions", body) as response:
                    answer = _object(await _content(response), self._secret)
                    failure = stream_failure(answer, secret=self._secret)
                    if failure is not None:
                        raise failure
                    if answer.get("choices") == []:
                        raise UpstreamAnswerInvalid("上游模型服务的回答是空的", detail="no choices")
                    return read_reply(answer)
            except (UpstreamUnreachable, UpstreamOverloaded) as failure:
                await self._wait(attempt, failure)
        raise AssertionError("the last attempt raises")

    async def stream(self, body: dict[str, Any], waiting: Waiting) -> AsyncGenerator[Reply, None]:
        """A chat completion in pieces. Retried only before the first piece with text: no text is given twice.

        Raises:
            UpstreamError: the subclass that says what went wrong.
        """
        for attempt in range(_ATTEMPTS):
            begun = False
            try:
                async with (
                    self._slot(waiting),
                    self._response("POST", "/chat/completions", body) as response,
                    aclosing(self._pieces(response)) as pieces,
                ):
                    async for piece in pieces:
                        begun = begun or bool(piece.text)
                        yield piece
                return
            except (UpstreamUnreachable, UpstreamOverloaded) as failure:
                if begun:
                    raise
                await self._wait(attempt, failure)

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[Reply, None]:
        finished = False
        async with aclosing(_events(response)) as events:
            async for event in events:
                if event.strip() == "[DONE]":
                    return
                answer = _object(event.encode(), self._secret)
                failure = stream_failure(answer, secret=self._secret)
                if failure is not None:
                    raise failure
                piece = read_reply(answer)
                finished = finished or piece.finish_reason is not None
                yield piece
        if not finished:
            raise UpstreamUnreachable("与上游模型服务的连接中断", detail="the stream ended before the answer did")

    @asynccontextmanager
    async def _slot(self, waiting: Waiting) -> AsyncIterator[None]:
        asked = time.monotonic()
        async with self._slots:
            waiting.seconds += time.monotonic() - asked
            yield

    async def _wait(self, attempt: int, failure: UpstreamUnreachable | UpstreamOverloaded) -> None:
        """Before the next attempt; raises where there is none."""
        asked = failure.retry_after if isinstance(failure, UpstreamOverloaded) else None
        if attempt + 1 == _ATTEMPTS or (asked or 0.0) > _LONGEST_WAIT:
            raise failure
        usual = self._backoff * 2.0**attempt * random.uniform(0.75, 1.25)
        seconds = min(max(usual, asked or 0.0), _LONGEST_WAIT)
        logger.info("upstream: %s; attempt %d in %.1f s", failure.detail, attempt + 2, seconds)
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def _response(self, method: str, path: str, body: dict[str, Any] | None) -> AsyncIterator[httpx.Response]:
        """A response with status 200, closed in the end. httpx's failures, then and while it is read, become ours."""
        try:
            async with self._http.stream(method, self.url + path, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    content = await _content(response)
                    raise status_failure(
                        response.status_code, response.headers, content, now=time.time(), secret=self._secret
                    )
                yield response
        except (httpx.DecodingError, httpx.LocalProtocolError) as error:
            # The latter's text may show the header with the key.
            raise UpstreamAnswerInvalid("上游模型服务的回答无法解析", detail=type(error).__name__) from None
        except httpx.RequestError as error:
            detail = f"{type(error).__name__} {error}".strip()
            raise UpstreamUnreachable("上游模型服务连不上，请稍后再试", detail=detail) from error


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MAX_BYTES:
            raise UpstreamAnswerInvalid("上游模型服务的回答过大", detail=f"more than {_MAX_BYTES} bytes")
    return bytes(content)


async def _events(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The data of a response's events. One that is no stream counts as one event: some servers do not stream."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        yield (await _content(response)).decode("utf-8", "replace")
        return
    reader, size = EventReader(), 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > _MAX_BYTES:
            raise UpstreamAnswerInvalid("上游模型服务的回答过大", detail=f"more than {_MAX_BYTES} bytes")
        try:
            events = reader.feed(chunk)
        except EventTooLarge as error:
            raise UpstreamAnswerInvalid("上游模型服务的回答过大", detail=str(error)) from error
        for event in events:
            yield event.data
    for event in reader.end():
        yield event.data


def _object(content: bytes, secret: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UpstreamAnswerInvalid("上游模型服务的回答不是 JSON", detail=beginning(content, secret)) from error
    if not isinstance(parsed, dict):
        raise UpstreamAnswerInvalid("上游模型服务的回答不是 JSON 对象", detail=beginning(content, secret))
    return parsed
