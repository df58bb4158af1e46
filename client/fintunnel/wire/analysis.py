"""What `/analyze`, `/analyze/stream` and `/analyze/batch` take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, JsonValue, field_validator

from fintunnel.wire.error_body import ErrorDetail
from fintunnel.wire.model import NOT_GUESSED, Boolean, Integer, Number, WireModel

__all__ = [
    "BASE_ADAPTER",
    "DEFAULT_MODEL_NAME",
    "DIRECTIONS",
    "HORIZON_MIN",
    "IMPACTS",
    "SIGNALS",
    "AnalyzeRequest",
    "AnalyzeResponse",
    "BatchItem",
    "BatchRequest",
    "BatchResponse",
    "Context",
    "Direction",
    "Edges",
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

Finite = Annotated[Number, Field(allow_inf_nan=False)]
# At least one character that is neither a space nor a control nor a format character: text that says something. One
# spelling for Rust's regular expressions, Python's and the OpenAPI document's.
_VISIBLE = r"[^\s\u0000-\u001f\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3000\ufeff]"
NonNegative = Annotated[Number, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


# --- requests ---------------------------------------------------------------------------------------


class Figures(WireModel):
    """A released figure beside what was expected, all in `unit` ("%", "万人" …)."""

    actual: Finite | None = None
    consensus: Finite | None = None
    previous: Finite | None = None
    unit: str | None = Field(default=None, max_length=40)
    indicator: str | None = Field(default=None, max_length=200)


class Context(WireModel):
    """The market before publication, from bars strictly before the event's minute.

    `pre_return`: return over the window; `volatility`: (high - low) / open over the window;
    `typical_move`: median absolute move over the model's horizon (`HORIZON_MIN` minutes unless it was trained for
    another) in the last 10 days.
    """

    ticker: str = Field(default="XAUUSD", min_length=1, max_length=20)
    window_min: Integer = Field(default=120, ge=1, le=1440)
    pre_return: Finite
    volatility: NonNegative
    typical_move: Annotated[Number, Field(gt=0, allow_inf_nan=False)]


def _require_task(schema: dict[str, Any]) -> None:
    schema["required"] = ["task", *schema["required"]]


class _Request(WireModel):
    # In code a request is what its class says; on the wire `task` tells the two apart.
    model_config = ConfigDict(json_schema_extra=_require_task)

    explain: Boolean = Field(default=True, description="false: labels or citations only, no text is generated")
    adapter: str | None = Field(
        default=None, max_length=100, description='null: the default model; "base": the base without an adapter'
    )
    max_tokens: Integer = Field(default=160, ge=1, le=512)


def _year_in_schema(schema: dict[str, Any]) -> None:
    schema["anyOf"][0]["pattern"] = "^(19[7-9]|20|21)"


class NewsRequest(_Request):
    task: Literal["news"] = "news"
    text: str = Field(min_length=1, max_length=4000, pattern=_VISIBLE)
    published_at: datetime | None = Field(default=None, json_schema_extra=_year_in_schema)
    importance: Annotated[int, Field(ge=1, le=5), NOT_GUESSED] | None = None
    figures: Figures | None = None
    context: Context | None = None

    @field_validator("published_at", mode="before")
    @classmethod
    def _time_is_written_out(cls, at: object) -> object:
        if at is not None and not isinstance(at, str | datetime):
            raise ValueError("应是时间，像 2025-08-01T20:30:00+08:00")  # a number's unit would be guessed
        return at

    @field_validator("published_at")
    @classmethod
    def _time_is_plausible(cls, at: datetime | None) -> datetime | None:
        if at is not None and not 1970 <= at.year < 2200:
            raise ValueError("年份应在 1970 到 2199 之间")
        return at


class Passage(WireModel):
    text: str = Field(min_length=1, max_length=2000, pattern=_VISIBLE)
    source: str = Field(min_length=1, max_length=200)
    page: Annotated[int, Field(ge=1), NOT_GUESSED] | None = None


class ReportRequest(_Request):
    task: Literal["report"] = "report"
    question: str = Field(min_length=1, max_length=1000, pattern=_VISIBLE)
    passages: list[Passage] = Field(min_length=1, max_length=8)


AnalyzeRequest = Annotated[NewsRequest | ReportRequest, Field(discriminator="task")]


# --- answers ----------------------------------------------------------------------------------------


class Signals(WireModel):
    priced_in: bool
    wait_and_see: bool


class Edges(WireModel):
    """What the classes mean, from the adapter's training rows; r = return after, m = typical move.

    `impact`: low | medium | high edges of |r| / m; `direction`: bearish | neutral | bullish edges of r / m;
    the rest: thresholds on |pre_return| and volatility for the two signals. `horizon_min`: the minutes that r spans.
    """

    impact: tuple[Finite, Finite]
    direction: tuple[Finite, Finite]
    priced_in_pre_return: Finite
    wait_and_see_volatility: Finite
    wait_and_see_pre_return: Finite
    horizon_min: int = Field(default=HORIZON_MIN, ge=1, le=1440)


class ModelInfo(WireModel):
    """Who answered. `fallback`: the client had asked its own backend first, which failed; a server never sets it."""

    backend: Literal["deepseek", "finetuned"]
    base: str
    adapter: str | None
    prompt_version: int
    fallback: bool = False


class Usage(WireModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Timing(WireModel):
    """Milliseconds: waiting for the model, in the model, from arrival to answer."""

    queue: float
    model: float
    total: float


class _Answer(WireModel):
    id: str
    model: ModelInfo
    usage: Usage
    timing_ms: Timing
    calibrated: bool = False
    truncated: bool = Field(default=False, description="the request's texts were shortened to fit the model")


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


# --- /analyze/batch -----------------------------------------------------------------------------------


class BatchRequest(WireModel):
    """`items`: each an `AnalyzeRequest`, checked by itself."""

    items: list[dict[str, JsonValue]] = Field(min_length=1, max_length=64)


class BatchItem(WireModel):
    """Exactly one of the two."""

    analysis: AnalyzeResponse | None = None
    error: ErrorDetail | None = None


class BatchResponse(WireModel):
    """One result for each item, in their order."""

    results: list[BatchItem]
