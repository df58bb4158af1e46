"""What a client can do, as steps: one implementation under both clients. No network here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from fintunnel.backends.choice import Choice
from fintunnel.backends.fallback import Cooldown, with_fallback
from fintunnel.backends.hosted_api import HostedApi
from fintunnel.backends.many import Many, Progress, check_kind, news_request
from fintunnel.backends.own_server import OwnServer
from fintunnel.backends.steps import Steps
from fintunnel.check import Check
from fintunnel.comparison import Comparison
from fintunnel.completion import Completion
from fintunnel.errors import ConfigurationError, FinTunnelError
from fintunnel.prompt import Message
from fintunnel.wire import BASE_ADAPTER, NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest

__all__ = ["Operations"]

_T = TypeVar("_T")
_Request = NewsRequest | ReportRequest


class Operations:
    def __init__(self, choice: Choice, cooldown_seconds: float) -> None:
        self.choice = choice
        self.cooldown = Cooldown(cooldown_seconds)

    def request(self, request: str | _Request, fields: dict[str, object]) -> _Request:
        """
        Raises:
            InvalidRequestError: a field is not what the contract allows.
            TypeError: fields beside a whole request.
        """
        if isinstance(request, str):
            return news_request(request, fields)
        check_kind(request)
        if fields:
            raise TypeError(f"fields go with a headline, not with a request: {', '.join(fields)}")
        return request

    def analyze(self, request: _Request) -> Steps[NewsAnalysis | ReportAnswer]:
        own = self.choice.backend.analyze(request)
        return self._with_fallback(own, lambda other: other.analyze(request), request)

    def complete(self, messages: Sequence[Message], temperature: float, max_tokens: int) -> Steps[Completion]:
        own = self.choice.backend.complete(messages, temperature, max_tokens)
        return self._with_fallback(own, lambda other: other.complete(messages, temperature, max_tokens))

    def check(self) -> Steps[Check]:
        found = yield from self.choice.backend.check()
        other = self.choice.fallback
        return found if other is None else replace(found, fallback=other.name)

    def compare(self, request: _Request) -> Steps[Comparison[NewsAnalysis | ReportAnswer]]:
        """Base and tuned model on the same request. Never falls back: another model's answer is no comparison."""
        server = self.choice.backend
        if not isinstance(server, OwnServer):
            raise ConfigurationError(
                "compare 比较自己的基座和微调模型，官方 API 没有这两个", advice="请设 FINTUNNEL_BACKEND=finetuned。"
            )
        base, tuned = yield from server.analyze_batch([request.model_copy(update={"adapter": BASE_ADAPTER}), request])
        for result in (base, tuned):
            if isinstance(result, FinTunnelError):
                raise result
        assert not isinstance(base, FinTunnelError) and not isinstance(tuned, FinTunnelError)
        if tuned.model.adapter is None:
            raise ConfigurationError("服务没有加载适配器，无法比较", advice="请用 fintunnel serve --adapter … 启动。")
        return Comparison(base, tuned)

    def many(
        self,
        requests: Sequence[str | _Request],
        fields: dict[str, object],
        on_progress: Callable[[Progress], object] | None,
    ) -> Many:
        return Many(requests, fields, self.choice, self.cooldown, on_progress)

    def streams(self, request: _Request) -> list[OwnServer | HostedApi]:
        """Whom to ask for a stream, one after the other."""
        fallback = self.choice.fallback
        if fallback is None or request.adapter is not None:
            return [self.choice.backend]
        return [fallback] if self.cooldown.is_on else [self.choice.backend, fallback]

    def _with_fallback(
        self, own: Steps[_T], ask_other: Callable[[HostedApi], Steps[_T]], request: _Request | None = None
    ) -> Steps[_T]:
        other = self.choice.fallback
        if other is None or (request is not None and request.adapter is not None):
            return own  # an adapter is the own server's alone
        return with_fallback(self.cooldown, own, lambda: ask_other(other))
