"""What crosses the network: requests, answers, the error body. The one definition, used by both sides.

Conventions: returns, moves and volatilities are fractions (0.01 = 1 %), windows and horizons are minutes,
probabilities of a field add up to 1. A datetime without a zone is Beijing time (the databases' `ts_local`).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "BASE_ADAPTER",
    "DEFAULT_MODEL_NAME",
    "DIRECTIONS",
    "HORIZON_MIN",
    "IMPACTS",
    "SIGNALS",
    "AdapterLoad",
    "AdapterLoaded",
    "AnalyzeRequest",
    "AnalyzeResponse",
    "ChatChoice",
    "ChatCompletion",
    "ChatMessage",
    "ChatRequest",
    "ChatUsage",
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

Impact = Literal["low", "medium", "high"]
Direction = Literal["bearish", "neutral", "bullish"]
Signal = Literal["priced_in", "wait_and_see"]
IMPACTS: tuple[Impact, ...] = get_args(Impact)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
SIGNALS: tuple[Signal, ...] = get_args(Signal)

HORIZON_MIN = 15  # by default the labels speak of the return over this many minutes after publication
BASE_ADAPTER = "base"  # the reserved adapter name of the bare base
DEFAULT_MODEL_NAME = "fintunnel"  # in the chat route: the server's default model, whatever it is called

Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- requests ---------------------------------------------------------------------------------------


class Figures(_Wire):
    """A released figure beside what was expected, all in `unit` ("%", "万人" …)."""

    actual: Finite | None = None
    consensus: Finite | None = None
    previous: Finite | None = None
    unit: str | None = Field(None, max_length=40)
    indicator: str | None = Field(None, max_length=200)


class Context(_Wire):
    """The market before publication, from bars strictly before the event's minute.

    `pre_return`: return over the window; `volatility`: (high - low) / open over the window;
    `typical_move`: median absolute move over the model's horizon (`HORIZON_MIN` minutes unless it was trained for
    another) in the last 10 days.
    """

    ticker: str = Field("XAUUSD", min_length=1, max_length=20)
    window_min: int = Field(120, ge=1, le=1440)
    pre_return: Finite
    volatility: NonNegative
    typical_move: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Request(_Wire):
    explain: bool = Field(True, description="false: labels or citations only, no text is generated")
    adapter: str | None = Field(
        None, max_length=100, description='null: the default model; "base": the base without an adapter'
    )
    max_tokens: int = Field(160, ge=1, le=512)


class NewsRequest(_Request):
    task: Literal["news"] = "news"
    text: str = Field(min_length=1, max_length=4000)
    published_at: datetime | None = None
    importance: int | None = Field(None, ge=1, le=5)
    figures: Figures | None = None
    context: Context | None = None

    @field_validator("text")
    @classmethod
    def _text_says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("text is blank")
        return text

    @field_validator("published_at")
    @classmethod
    def _time_is_plausible(cls, at: datetime | None) -> datetime | None:
        if at is not None and not 1970 <= at.year <= 2200:
            raise ValueError("year must be between 1970 and 2200")
        return at


class Passage(_Wire):
    text: str = Field(min_length=1, max_length=2000)
    source: str = Field(min_length=1, max_length=200)
    page: int | None = Field(None, ge=1)


class ReportRequest(_Request):
    task: Literal["report"] = "report"
    question: str = Field(min_length=1, max_length=1000)
    passages: list[Passage] = Field(min_length=1, max_length=8)


AnalyzeRequest = Annotated[NewsRequest | ReportRequest, Field(discriminator="task")]


# --- answers ----------------------------------------------------------------------------------------


class Signals(_Wire):
    priced_in: bool
    wait_and_see: bool


class Edges(_Wire):
    """What the classes mean, from the adapter's training rows; r = return after, m = typical move.

    `impact`: low | medium | high edges of |r| / m; `direction`: bearish | neutral | bullish edges of r / m;
    the rest: thresholds on |pre_return| and volatility for the two signals. `horizon_min`: the minutes that r spans.
    """

    impact: tuple[Finite, Finite]
    direction: tuple[Finite, Finite]
    priced_in_pre_return: Finite
    wait_and_see_volatility: Finite
    wait_and_see_pre_return: Finite
    horizon_min: int = Field(HORIZON_MIN, ge=1, le=1440)


class ModelInfo(_Wire):
    backend: Literal["deepseek", "finetuned"]
    base: str
    adapter: str | None
    prompt_version: int


class Usage(_Wire):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Timing(_Wire):
    """Milliseconds: waiting for the model, in the model, from arrival to answer."""

    queue: float
    model: float
    total: float


class _Answer(_Wire):
    id: str
    model: ModelInfo
    usage: Usage
    timing_ms: Timing
    calibrated: bool = False
    truncated: bool = Field(False, description="the request's texts were shortened to fit the model")


class NewsAnalysis(_Answer):
    task: Literal["news"] = "news"
    impact: Impact
    impact_probs: dict[Impact, Probability] | None
    direction: Direction
    direction_probs: dict[Direction, Probability] | None
    signals: list[Signal] | None
    signal_probs: dict[Signal, Probability] | None
    rationale: str | None
    horizon_min: int = HORIZON_MIN
    edges: Edges | None = None


class ReportAnswer(_Answer):
    task: Literal["report"] = "report"
    citations: list[int]
    answer: str | None


AnalyzeResponse = Annotated[NewsAnalysis | ReportAnswer, Field(discriminator="task")]


# --- /v1/chat/completions, in OpenAI's shape ----------------------------------------------------------


class ChatMessage(_Wire):
    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=32_000)


class ChatRequest(_Wire):
    """The fields that are served; any other gets 422."""

    model: str = Field(DEFAULT_MODEL_NAME, max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=64)
    max_tokens: int | None = Field(None, ge=1, le=2048)
    max_completion_tokens: int | None = Field(None, ge=1, le=2048)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stream: Literal[False] = False
    n: Literal[1] = 1


class ChatUsage(_Wire):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatChoice(_Wire):
    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length"]


class ChatCompletion(_Wire):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage


# --- /admin/adapters ----------------------------------------------------------------------------------

AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


class AdapterLoad(_Wire):
    """`name`: what requests call the adapter; `folder`: of the adapter, directly under the server's adapter root,
    where it is called otherwise."""

    name: AdapterName
    folder: AdapterName | None = None


class AdapterLoaded(_Wire):
    name: str


# --- errors -----------------------------------------------------------------------------------------


class ErrorCode(StrEnum):
    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    INVALID_API_KEY = "invalid_api_key"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNKNOWN_MODEL = "unknown_model"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    PROMPT_TOO_LONG = "prompt_too_long"
    QUEUE_FULL = "queue_full"
    NO_CAPACITY = "no_capacity"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    UPSTREAM_FAILED = "upstream_failed"
    NOT_READY = "not_ready"
    INTERNAL = "internal_error"


class ErrorDetail(_Wire):
    message: str
    type: str
    code: ErrorCode
    param: str | None = None
    request_id: str


class ErrorBody(_Wire):
    error: ErrorDetail
