"""What the routes share: the engine, the settings, and what is counted and bounded."""

from __future__ import annotations

from dataclasses import dataclass

from fintunnel.wire import DEFAULT_MODEL_NAME, NewsRequest, ReportRequest

from fintunnel_server.analysis.analyze import Parts, analyze
from fintunnel_server.engine import Engine
from fintunnel_server.model_names import adapter_of
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.metrics import Metrics
from fintunnel_server.running.progress import Progress
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

    def analyze(self, request: NewsRequest | ReportRequest) -> Parts:
        """
        Raises:
            ApiError: 404, no such adapter.
        """
        adapter = self.adapter(request.adapter, param="adapter")
        return analyze(request, self.engine, adapter=adapter, max_prompt_tokens=self.settings.max_prompt_tokens)

    def adapter(self, name: str | None, *, param: str) -> str | None:
        """The adapter that a request's name means; None is the bare base.

        Raises:
            ApiError: 404, there is none of this name.
        """
        return adapter_of(self.engine, None if name == DEFAULT_MODEL_NAME else name, param=param)
