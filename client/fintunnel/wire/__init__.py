"""What crosses the network: requests, answers, the error body. The one definition, used by both sides.

Conventions: returns, moves and volatilities are fractions (0.01 = 1 %), windows and horizons are minutes,
probabilities of a field add up to 1. A datetime without a zone is Beijing time (the databases' `ts_local`).
"""

from __future__ import annotations

from fintunnel.wire.adapters import (
    AdapterLoad,
    AdapterLoaded,
)
from fintunnel.wire.analysis import (
    BASE_ADAPTER,
    DEFAULT_MODEL_NAME,
    DIRECTIONS,
    HORIZON_MIN,
    IMPACTS,
    SIGNALS,
    AnalyzeRequest,
    AnalyzeResponse,
    BatchItem,
    BatchRequest,
    BatchResponse,
    Context,
    Direction,
    Edges,
    Figures,
    Impact,
    ModelInfo,
    NewsAnalysis,
    NewsRequest,
    Passage,
    ReportAnswer,
    ReportRequest,
    Signal,
    Signals,
    Timing,
    Usage,
)
from fintunnel.wire.error_body import (
    STATUSES,
    ErrorBody,
    ErrorCode,
    ErrorDetail,
)

__all__ = [
    "BASE_ADAPTER",
    "DEFAULT_MODEL_NAME",
    "DIRECTIONS",
    "HORIZON_MIN",
    "IMPACTS",
    "SIGNALS",
    "STATUSES",
    "AdapterLoad",
    "AdapterLoaded",
    "AnalyzeRequest",
    "AnalyzeResponse",
    "BatchItem",
    "BatchRequest",
    "BatchResponse",
    "Context",
    "Direction",
    "Edges",
    "ErrorBody",
    "ErrorCode",
    "ErrorDetail",
    "Figures",
    "Impact",
    "ModelInfo",
    "NewsAnalysis",
    "NewsRequest",
    "Passage",
    "ReportAnswer",
    "ReportRequest",
    "Signal",
    "Signals",
    "Timing",
    "Usage",
]
