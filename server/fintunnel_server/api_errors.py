"""Every error of every route in the one body of the contract, with the request's id."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import MalformedAnswerError, PromptRejectedError, PromptTooLongError
from fintunnel.wire import ErrorBody, ErrorCode, ErrorDetail
from fintunnel_training.errors import AdapterError
from starlette.exceptions import HTTPException

from fintunnel_server.errors import (
    EngineBusy,
    EngineFull,
    SamplingRejected,
    SchemaRejected,
    UpstreamError,
    UpstreamOverloaded,
)

__all__ = [
    "ApiError",
    "add_error_handlers",
    "error_body",
    "error_headers",
    "error_response",
    "error_responses",
    "internal_error",
    "numbered",
    "request_id",
]

logger = logging.getLogger("fintunnel.server")

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "server_error",
}


class ApiError(Exception):
    """Raised by routes and dependencies; becomes the error body. `retry_after` in seconds."""

    def __init__(
        self,
        status: int,
        code: ErrorCode,
        message: str,
        param: str | None = None,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers = headers or {}


def request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def error_response(request: Request, error: ApiError) -> JSONResponse:
    body = _body(request, error).model_dump(mode="json")
    return JSONResponse(body, status_code=error.status, headers=error_headers(error))


def error_headers(error: ApiError) -> dict[str, str]:
    headers = dict(error.headers)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return headers


def numbered(error: ApiError, number: str) -> ErrorBody:
    """The body of the contract; `number`: the request's id."""
    kind = _TYPES.get(error.status, "invalid_request_error")
    return ErrorBody(
        error=ErrorDetail(message=error.message, type=kind, code=error.code, param=error.param, request_id=number)
    )


def error_responses(*statuses: int, key: bool = True) -> dict[int | str, dict[str, Any]]:
    """What a route's part of the OpenAPI document says of its errors. `key`: the route is behind the key."""
    # 405 comes from the router, 503 from the drain.
    given = {*statuses, 405, *((401, 429, 500, 503) if key else ())}
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in sorted(given)}


def error_body(request: Request, error: Exception) -> ErrorBody:
    """What an error is to the caller. One that nobody foresaw goes to the log, and its number to the caller."""
    known = _known(error)
    if known is None:
        number = request_id(request)
        logger.error("request %s failed", number, exc_info=error)
        known = ApiError(500, ErrorCode.INTERNAL, f"服务内部出错，日志里的编号是 {number}")
    return _body(request, known)


def internal_error(request: Request, error: Exception) -> JSONResponse:
    """The answer to a failure that nobody foresaw."""
    return JSONResponse(error_body(request, error).model_dump(mode="json"), status_code=500)


def add_error_handlers(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        known = _known(error)
        assert known is not None  # it is registered for these alone
        return error_response(request, known)

    for kind in (
        ApiError,
        PromptTooLongError,
        PromptRejectedError,
        MalformedAnswerError,
        AdapterError,
        EngineBusy,
        EngineFull,
        SamplingRejected,
        SchemaRejected,
        UpstreamError,
        RequestValidationError,
        HTTPException,
    ):
        app.add_exception_handler(kind, answer)


def _known(error: Exception) -> ApiError | None:
    match error:
        case ApiError():
            return error
        case PromptTooLongError():
            return ApiError(422, ErrorCode.PROMPT_TOO_LONG, str(error))
        case PromptRejectedError():
            return ApiError(422, ErrorCode.INVALID_REQUEST, str(error), "messages")
        case AdapterError():
            return ApiError(422, ErrorCode.INVALID_REQUEST, str(error), "folder")
        case EngineBusy():
            return ApiError(429, ErrorCode.QUEUE_FULL, str(error), retry_after=error.retry_after)
        case EngineFull():
            return ApiError(503, ErrorCode.NO_CAPACITY, str(error), retry_after=5.0)
        case SamplingRejected():
            return ApiError(422, ErrorCode.INVALID_REQUEST, str(error), error.param)
        case SchemaRejected():  # the schemas of `tools` are refused with that name by who reads them
            return ApiError(422, ErrorCode.INVALID_REQUEST, str(error), "response_format")
        case UpstreamError():
            logger.warning("upstream: %s %s", error, error.detail)
            retry_after = error.retry_after if isinstance(error, UpstreamOverloaded) else None
            return ApiError(503, ErrorCode.UPSTREAM_FAILED, str(error), retry_after=retry_after)
        case MalformedAnswerError():
            return ApiError(503, ErrorCode.UPSTREAM_FAILED, str(error))
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _http(error)
    return None


def _invalid(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(400, ErrorCode.INVALID_JSON, "请求体不是有效的 JSON")
    # Without what pydantic puts between: the union's branch that it was in, such as `constrained-str`.
    places = [str(part) for part in first["loc"] if part not in ("body", "news", "report")]
    where = ".".join(place for place in places if not re.search(r"[-\[]", place))
    if first["type"].startswith("union_tag"):
        field = str(first["ctx"]["discriminator"]).strip("'")
        where = f"{where}.{field}" if where else field
    return ApiError(422, ErrorCode.INVALID_REQUEST, f"{where or '请求体'}：{rule_in_chinese(first)}", where or None)


def _http(error: HTTPException) -> ApiError:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return ApiError(404, ErrorCode.NOT_FOUND, "没有这个地址")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return ApiError(405, ErrorCode.METHOD_NOT_ALLOWED, "这个地址不支持该方法", headers=error.headers)
        case HTTPStatus.BAD_REQUEST:
            return ApiError(400, ErrorCode.INVALID_JSON, "请求体无法解析，应是 UTF-8 的 JSON")
    return ApiError(error.status_code, ErrorCode.INVALID_REQUEST, str(error.detail))


def _note(request: Request, code: ErrorCode) -> None:
    """For the log and the metrics; the items of a batch have an error each."""
    codes = request.scope.setdefault("state", {}).setdefault("error_codes", [])
    codes.append(code.value)


def _body(request: Request, error: ApiError) -> ErrorBody:
    _note(request, error.code)
    return numbered(error, request_id(request))
