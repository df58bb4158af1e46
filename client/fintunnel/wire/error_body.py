"""The body of every error of every route."""

from __future__ import annotations

from enum import StrEnum

from fintunnel.wire.model import WireModel

__all__ = [
    "STATUSES",
    "ErrorBody",
    "ErrorCode",
    "ErrorDetail",
]


class ErrorCode(StrEnum):
    INVALID_HTTP = "invalid_http"
    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    INVALID_API_KEY = "invalid_api_key"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNKNOWN_MODEL = "unknown_model"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    HEAD_TOO_LARGE = "head_too_large"
    PROMPT_TOO_LONG = "prompt_too_long"
    REQUEST_TOO_SLOW = "request_too_slow"
    RATE_LIMITED = "rate_limited"
    QUEUE_FULL = "queue_full"
    NO_CAPACITY = "no_capacity"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    UPSTREAM_FAILED = "upstream_failed"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    SHUTTING_DOWN = "shutting_down"
    NOT_READY = "not_ready"
    INTERNAL = "internal_error"


# The HTTP status that goes with each, also where it comes inside an answer: a batch's item, a stream's last event.
STATUSES = {
    ErrorCode.INVALID_HTTP: 400,
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.INVALID_REQUEST: 422,
    ErrorCode.INVALID_API_KEY: 401,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.UNKNOWN_MODEL: 404,
    ErrorCode.BODY_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.HEAD_TOO_LARGE: 431,
    ErrorCode.PROMPT_TOO_LONG: 422,
    ErrorCode.REQUEST_TOO_SLOW: 408,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.QUEUE_FULL: 429,
    ErrorCode.NO_CAPACITY: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.UPSTREAM_FAILED: 503,
    ErrorCode.TOO_MANY_CONNECTIONS: 503,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.NOT_READY: 503,
    ErrorCode.INTERNAL: 500,
}


class ErrorDetail(WireModel):
    message: str
    type: str
    code: ErrorCode
    param: str | None = None
    request_id: str


class ErrorBody(WireModel):
    error: ErrorDetail
