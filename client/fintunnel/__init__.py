"""FinTunnel's client: one interface over the hosted DeepSeek API and your own tuned model."""

from fintunnel.async_client import AsyncDeepSeekClient
from fintunnel.backends.many import Progress
from fintunnel.check import Check
from fintunnel.comparison import Comparison
from fintunnel.completion import Completion
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
from fintunnel.stream_parts import Done, Labels, StreamPart, TextPiece
from fintunnel.wire import (
    Context,
    Figures,
    NewsAnalysis,
    NewsRequest,
    Passage,
    ReportAnswer,
    ReportRequest,
)

__version__ = "0.2.0"

__all__ = [
    "APIError",
    "AsyncDeepSeekClient",
    "AuthenticationError",
    "Check",
    "Comparison",
    "Completion",
    "ConfigurationError",
    "ConnectionFailed",
    "Context",
    "DeepSeekClient",
    "Done",
    "Figures",
    "FinTunnelError",
    "InvalidRequestError",
    "Labels",
    "MalformedAnswerError",
    "NewsAnalysis",
    "NewsRequest",
    "Passage",
    "Progress",
    "PromptTooLongError",
    "QuotaError",
    "RateLimitError",
    "ReportAnswer",
    "ReportRequest",
    "RequestTimeout",
    "ServerFailure",
    "StreamPart",
    "TextPiece",
    "TunnelError",
    "__version__",
]
