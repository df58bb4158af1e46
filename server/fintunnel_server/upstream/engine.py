"""`Engine` over an upstream server. Stateless but for its connections: many of it may share one upstream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fintunnel.prompt import Message

from fintunnel_server.engine import EngineInfo, Occupancy
from fintunnel_server.errors import UpstreamError, UpstreamRefused
from fintunnel_server.upstream.abilities import Abilities
from fintunnel_server.upstream.connection import Connection
from fintunnel_server.upstream.conversation import UpstreamConversation
from fintunnel_server.upstream.token_estimate import TokenEstimate

__all__ = ["UpstreamEngine", "listed_models"]

_CHECK_SECONDS = 3.0
_CHECK_KEPT_SECONDS = 5.0


class UpstreamEngine:
    """Made by `load_upstream_engine`, which finds out what the upstream offers.

    Args:
        models: what the upstream calls each adapter of `info`; None stands for the bare base.
        extra: fields of every request.
        lists_models: whether the upstream has a list of its models; without, any answer to the question is health.
    """

    def __init__(
        self,
        connection: Connection,
        info: EngineInfo,
        models: Mapping[str | None, str],
        *,
        abilities: Abilities,
        estimate: TokenEstimate,
        extra: Mapping[str, object],
        lists_models: bool,
    ) -> None:
        self._connection = connection
        self._info = info
        self._models = models
        self._abilities = abilities
        self._estimate = estimate
        self._extra = extra
        self._lists_models = lists_models
        self._open = 0
        self._checking = asyncio.Lock()
        self._checked = -_CHECK_KEPT_SECONDS
        self._failure: UpstreamError | None = None

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def abilities(self) -> Abilities:
        return self._abilities

    def count_tokens(self, messages: list[Message]) -> int:
        """An estimate that is meant to be too high (see `token_estimate`); nothing is sent."""
        return self._estimate(messages)

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[UpstreamConversation]:
        del answer_tokens  # the upstream refuses what it has no room for
        del shared  # its prefix cache, if it has one, finds it by itself
        conversation = UpstreamConversation(
            self._connection,
            self._models[adapter],
            messages,
            self._abilities,
            self._extra,
            self._estimate(messages),
        )
        self._open += 1
        try:
            yield conversation
        finally:
            self._open -= 1
            await conversation.close()

    def occupancy(self) -> Occupancy:
        return Occupancy(running=self._open)  # which of them wait, the upstream does not tell

    async def check(self) -> None:
        """Ask for the list of models; what came of it counts for some seconds.

        Raises:
            UpstreamError: the upstream does not answer within 3 seconds, or does not have the model any more.
        """
        async with self._checking:
            if time.monotonic() - self._checked >= _CHECK_KEPT_SECONDS:
                self._failure = await self._ask_health()
                self._checked = time.monotonic()
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    async def _ask_health(self) -> UpstreamError | None:
        try:
            models = await listed_models(self._connection, timeout=_CHECK_SECONDS)
        except UpstreamRefused as error:
            return error if self._lists_models or error.status in (401, 403) else None
        except UpstreamError as error:
            return error
        if models is not None and not models.keys() >= set(self._models.values()):
            return UpstreamError("上游模型服务不再提供这个模型", detail="a model has gone from the list")
        return None

    async def close(self) -> None:
        await self._connection.close()


async def listed_models(connection: Connection, *, timeout: float) -> dict[str, dict[str, object]] | None:
    """The upstream's models with what it tells of each; None where its list has no list's shape.

    Raises:
        UpstreamError: there is no list.
    """
    listed = (await connection.get("/models", timeout=timeout)).get("data")
    if not isinstance(listed, list) or not all(isinstance(each, dict) and "id" in each for each in listed):
        return None
    return {str(each["id"]): each for each in listed}
