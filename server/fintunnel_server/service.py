"""What the routes share: the engine, the settings, and what is counted and bounded."""

from __future__ import annotations

from dataclasses import dataclass

from fintunnel.wire import BASE_ADAPTER, DEFAULT_MODEL_NAME, ErrorCode, NewsRequest, ReportRequest

from fintunnel_server.analyze import Parts, analyze
from fintunnel_server.api_errors import ApiError
from fintunnel_server.engine import Engine
from fintunnel_server.progress import Progress
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.metrics import Metrics
from fintunnel_server.security.keys import ApiKeys
from fintunnel_server.security.rate_limit import RateLimit
from fintunnel_server.settings import ServerSettings

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    settings: ServerSettings
    engine: Engine
    drain: Drain
    metrics: Metrics
    keys: ApiKeys
    rate: RateLimit

    def progress(self) -> Progress:
        """For one request, from now on."""
        return Progress(self.settings.request_timeout, self.drain, self.metrics)

    def analyze(self, request: NewsRequest | ReportRequest, *, param: str = "adapter") -> Parts:
        """
        Raises:
            ApiError: 404, no such adapter.
        """
        adapter = self.adapter(request.adapter, param=param)
        return analyze(request, self.engine, adapter=adapter, max_prompt_tokens=self.settings.max_prompt_tokens)

    def adapter(self, name: str | None, *, param: str) -> str | None:
        """The adapter that a request's name means; None is the bare base.

        Raises:
            ApiError: 404, there is none of this name.
        """
        info = self.engine.info
        if name is None or (param == "model" and name == DEFAULT_MODEL_NAME):
            return info.default_adapter
        if name == BASE_ADAPTER and info.has_base:
            return None
        if name not in info.adapters:
            known = "、".join([*info.adapters, *([BASE_ADAPTER] if info.has_base else [])])
            raise ApiError(404, ErrorCode.UNKNOWN_MODEL, f"没有这个模型，可用的是：{known}", param)
        return name
