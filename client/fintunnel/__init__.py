"""FinTunnel's client: one interface over the hosted DeepSeek API and your own tuned model."""

from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    FinTunnelError,
    InvalidRequestError,
    MalformedAnswerError,
    PromptTooLongError,
    QuotaError,
    RateLimitError,
    RequestTimeout,
    ServerFailure,
    TunnelError,
)
from fintunnel.wire import (
    Context,
    Figures,
    NewsAnalysis,
    NewsRequest,
    Passage,
    ReportAnswer,
    ReportRequest,
)

__version__ = "0.1.0"

__all__ = [
    "APIError",
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionFailed",
    "Context",
    "DeepSeekClient",
    "Figures",
    "FinTunnelError",
    "InvalidRequestError",
    "MalformedAnswerError",
    "NewsAnalysis",
    "NewsRequest",
    "Passage",
    "PromptTooLongError",
    "QuotaError",
    "RateLimitError",
    "ReportAnswer",
    "ReportRequest",
    "RequestTimeout",
    "ServerFailure",
    "TunnelError",
    "__version__",
]
