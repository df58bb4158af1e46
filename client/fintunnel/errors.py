"""Every error that FinTunnel raises on purpose.

    FinTunnelError
    ├── ConfigurationError      a setting is missing or wrong
    ├── ConnectionFailed        nobody answers at the address
    │   └── TunnelError         the tunnel answers, the server behind it does not
    ├── RequestTimeout          no complete answer within the deadline
    ├── APIError                an answer with an error status
    │   ├── AuthenticationError     401, 403: the key
    │   ├── QuotaError              402: the balance
    │   ├── RateLimitError          429
    │   ├── InvalidRequestError     any other 4xx, and redirects, which are not followed
    │   └── ServerFailure           5xx
    ├── MalformedAnswerError    an answer that does not satisfy the schema
    ├── PromptTooLongError      a request that cannot be shortened enough
    └── PromptRejectedError     a conversation that the model's template does not allow

The training and the server package hang their own bases (`TrainingError`, `ServerError`) under
`FinTunnelError`, so that the command line turns each of them into one or two lines.
"""

from __future__ import annotations

__all__ = [
    "APIError",
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionFailed",
    "FinTunnelError",
    "InvalidRequestError",
    "MalformedAnswerError",
    "PromptRejectedError",
    "PromptTooLongError",
    "QuotaError",
    "RateLimitError",
    "RequestTimeout",
    "ServerFailure",
    "TunnelError",
]


class FinTunnelError(Exception):
    """Base of all. `exit_status` is what the command line ends with: 2 for wrong use, 1 for failure."""

    exit_status = 1


class ConfigurationError(FinTunnelError):
    """A setting is missing or wrong; nothing was sent."""

    exit_status = 2


class ConnectionFailed(FinTunnelError):
    """Nobody answers at the address."""


class TunnelError(ConnectionFailed):
    """The tunnel, or a proxy, answers in the server's place."""


class RequestTimeout(FinTunnelError):
    """No complete answer within the deadline."""


class APIError(FinTunnelError):
    """An answer with an error status.

    Attributes:
        status: HTTP status.
        code: the server's error code (`invalid_api_key` …), if its body named one.
        request_id: to find the request in the server's log.
    """

    def __init__(self, message: str, *, status: int, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class AuthenticationError(APIError):
    pass


class QuotaError(APIError):
    pass


class RateLimitError(APIError):
    pass


class InvalidRequestError(APIError):
    pass


class ServerFailure(APIError):
    pass


class MalformedAnswerError(FinTunnelError):
    """An answer that is not JSON, or not what was asked for."""


class PromptTooLongError(FinTunnelError):
    """A request whose prompt is over the budget, with its texts cut to nothing."""


class PromptRejectedError(FinTunnelError):
    """A conversation that the model's chat template does not allow, such as two user turns in a row."""
