"""Every error that FinTunnel raises on purpose.

    FinTunnelError
    ├── ConfigurationError      a setting, or what it points to, is missing or wrong
    ├── ConnectionFailed        nobody answers at the address
    │   └── TunnelError         the tunnel is closed, or it or a proxy answers in the server's place
    ├── RequestTimeout          no complete answer within the deadline
    ├── APIError                an error that the backend named
    │   ├── AuthenticationError     401, 403: the key
    │   ├── QuotaError              402: the balance
    │   ├── RateLimitError          429
    │   ├── InvalidRequestError     any other 4xx, and redirects, which are not followed
    │   └── ServerFailure           5xx
    ├── MalformedAnswerError    an answer that does not satisfy the schema
    ├── PromptTooLongError      (training, server) a request that cannot be shortened enough
    └── PromptRejectedError     (server) a conversation that the model's template does not allow

Each carries `status`, `code` and `request_id` where there was an answer to take them from, and says in `advice` what
to do where there is something to do.

The training and the server package hang their own bases (`TrainingError`, `ServerError`) under
`FinTunnelError`, so that the command line turns each of them into one or two lines.
"""

from __future__ import annotations

__all__ = [
    "ERROR_PREFIX",
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

ERROR_PREFIX = "[错误]"  # before every error that is shown as text; old agents tell failures by it


class FinTunnelError(Exception):
    """Base of all. `exit_status` is what the command line ends with: 2 for wrong use, 1 for failure.

    Attributes:
        message: what went wrong.
        advice: what to do about it; may be empty.
        status: HTTP status of the answer; None where there was none.
        code: the answer's error code (`invalid_api_key` …, ngrok's `ERR_NGROK_3200`), if it named one.
        request_id: to find the request in the server's log.
        retry_after: seconds that the server asks to wait.
        transient: asking again may help; the client's retries go by it.
    """

    exit_status = 1
    transient = False

    def __init__(
        self,
        message: str = "",
        *,
        advice: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        if transient is not None:
            self.transient = transient

    def __str__(self) -> str:
        number = f"（编号 {self.request_id}）" if self.request_id else ""
        advice = f"。{self.advice}" if self.advice else ""
        return f"{self.message}{number}{advice}"


class ConfigurationError(FinTunnelError):
    """A setting, or what it points to (a file, a model's name), is missing or wrong."""

    exit_status = 2


class ConnectionFailed(FinTunnelError):
    """Nobody answers at the address, or the connection broke."""

    transient = True


class TunnelError(ConnectionFailed):
    """The tunnel is closed, or it or a proxy answers in the server's place."""


class RequestTimeout(FinTunnelError):
    """No complete answer within the deadline."""

    transient = True


class APIError(FinTunnelError):
    """An error that the backend named: by the status of its answer, or inside an answer."""


class AuthenticationError(APIError):
    """401, 403: the key."""


class QuotaError(APIError):
    """402: the balance. Asking again never helps."""


class RateLimitError(APIError):
    """429: too many requests, of this key or altogether."""

    transient = True


class InvalidRequestError(APIError):
    """The request: any other 4xx, a redirect, or found before it was sent."""


class ServerFailure(APIError):
    """5xx: the backend."""

    transient = True


class MalformedAnswerError(FinTunnelError):
    """An answer that is not JSON, or not what was asked for."""


class PromptTooLongError(FinTunnelError):
    """A request whose prompt is over the budget, with its texts cut to nothing."""


class PromptRejectedError(FinTunnelError):
    """A conversation that the model's chat template does not allow, such as two user turns in a row."""
