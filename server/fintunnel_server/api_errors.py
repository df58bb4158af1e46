"""Every error of every route in the one body of the contract, with the request's id."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fintunnel.errors import PromptRejectedError, PromptTooLongError
from fintunnel.wire import ErrorBody, ErrorCode, ErrorDetail
from starlette.exceptions import HTTPException

__all__ = ["ApiError", "add_error_handlers", "error_response", "internal_error", "request_id"]

logger = logging.getLogger("fintunnel.server")

_TYPES = {401: "authentication_error", 404: "not_found_error", 500: "server_error", 503: "server_error"}


class ApiError(Exception):
    """Raised by routes and dependencies; becomes the error body."""

    def __init__(self, status: int, code: ErrorCode, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


def request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def error_response(
    request: Request, status: int, code: ErrorCode, message: str, param: str | None = None
) -> JSONResponse:
    body = ErrorBody(
        error=ErrorDetail(
            message=message,
            type=_TYPES.get(status, "invalid_request_error"),
            code=code,
            param=param,
            request_id=request_id(request),
        )
    )
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(body.model_dump(mode="json"), status_code=status, headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return error_response(request, error.status, error.code, error.message, error.param)

    @app.exception_handler(PromptTooLongError)
    async def prompt_too_long(request: Request, error: PromptTooLongError) -> JSONResponse:
        return error_response(request, 422, ErrorCode.PROMPT_TOO_LONG, str(error))

    @app.exception_handler(PromptRejectedError)
    async def prompt_rejected(request: Request, error: PromptRejectedError) -> JSONResponse:
        return error_response(request, 422, ErrorCode.INVALID_REQUEST, str(error), "messages")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(request, 400, ErrorCode.INVALID_JSON, "请求体不是有效的 JSON")
        # The location and the rule, never the input: what a caller sent is not echoed.
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "news", "report"))
        if first["type"].startswith("union_tag"):
            where, rule = "task", '应为 "news" 或 "report"'
        else:
            rule = first["msg"]
        return error_response(request, 422, ErrorCode.INVALID_REQUEST, f"{where or '请求体'}：{rule}", where or None)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.NOT_FOUND:
            return error_response(request, 404, ErrorCode.NOT_FOUND, "没有这个地址")
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response = error_response(request, 405, ErrorCode.METHOD_NOT_ALLOWED, "这个地址不支持该方法")
            response.headers.update(error.headers or {})
            return response
        if error.status_code == HTTPStatus.BAD_REQUEST:
            return error_response(request, 400, ErrorCode.INVALID_JSON, "请求体无法解析，应是 UTF-8 的 JSON")
        return error_response(request, error.status_code, ErrorCode.INVALID_REQUEST, str(error.detail))


def internal_error(request: Request, error: Exception) -> JSONResponse:
    """The answer to a failure that nobody foresaw: its details go to the log, its number to the caller."""
    logger.error("request %s failed", request_id(request), exc_info=error)
    return error_response(request, 500, ErrorCode.INTERNAL, f"服务内部出错，日志里的编号是 {request_id(request)}")
