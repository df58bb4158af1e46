"""What the server package raises on purpose.

ServerError
├── SettingsError               settings that do not fit together
├── TunnelFailed
├── EngineBusy                  too many requests are waiting: 429
├── EngineFull                  the model's memory does not hold the request: 503
├── SamplingRejected            the engine cannot choose tokens as it was asked: 422
├── SchemaRejected              a JSON schema is invalid, not supported or too costly: 422
└── UpstreamError               the server that does the model work failed: 503
    ├── UpstreamUnreachable     nobody answers there, or the connection broke
    ├── UpstreamOverloaded      it has too much to do: 503 with Retry-After
    ├── UpstreamRefused         it does not accept the request
    └── UpstreamAnswerInvalid   it answered something else than what was asked for
"""

from __future__ import annotations

from fintunnel.errors import FinTunnelError

__all__ = [
    "EngineBusy",
    "EngineFull",
    "SamplingRejected",
    "SchemaRejected",
    "ServerError",
    "SettingsError",
    "TunnelFailed",
    "UpstreamAnswerInvalid",
    "UpstreamError",
    "UpstreamOverloaded",
    "UpstreamRefused",
    "UpstreamUnreachable",
]


class ServerError(FinTunnelError):
    pass


class SettingsError(ServerError):
    """The server was started with settings that do not fit together."""

    exit_status = 2


class TunnelFailed(ServerError):
    """The tunnel could not be opened. `permanent`: nor will it be, until somebody does what the message says."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class EngineBusy(ServerError):
    """So many requests are waiting for the model that another one would wait too long. `retry_after`: seconds until
    about half of them will have been answered."""

    retry_after: float

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineFull(ServerError):
    """The model's memory does not hold the request, or not at the moment."""


class SamplingRejected(ServerError):
    """The engine cannot choose tokens as it was asked. `param`: the field of the chat request that asks for it."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class SchemaRejected(ServerError):
    """The JSON schema that a reply should satisfy is invalid, not supported, or would cost too much."""


class UpstreamError(ServerError):
    """The upstream server failed. The message may be shown to callers: it names neither the upstream's address nor
    anything that it said. `detail` has that, for the operator, without keys."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class UpstreamUnreachable(UpstreamError):
    """Nobody answers at the upstream's address, or the connection broke before the answer was whole."""


class UpstreamOverloaded(UpstreamError):
    """The upstream has too much to do. `retry_after`: the seconds that it asked for, None where it did not say."""

    def __init__(self, message: str, *, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class UpstreamRefused(UpstreamError):
    """The upstream does not accept the request. `status`: its HTTP status, a 3xx or 4xx."""

    status: int

    def __init__(self, message: str, *, status: int, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.status = status


class UpstreamAnswerInvalid(UpstreamError):
    """The upstream's answer is not what an OpenAI-compatible server answers, or not the JSON that was asked for."""
