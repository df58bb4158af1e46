"""The server's log: one line an event, with the request's id and the name of its key; text for people, JSON for
programs."""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

__all__ = ["LogFormat", "RareLog", "RequestLog", "current_request", "log_to_stderr"]

LogFormat = Literal["text", "json"]
_OTHERS = ("uvicorn", "httpx", "pyngrok")  # they write a line for each of their own requests and starts


@dataclass
class RequestLog:
    """What a log line says of the request that it was written for."""

    request_id: str
    key_name: str | None = None


current_request: ContextVar[RequestLog | None] = ContextVar("current_request", default=None)


def log_to_stderr(form: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_request)
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}{request_id}{key}", style="{", timestamp=True, json_ensure_ascii=False,
                rename_fields={"levelname": "level", "name": "logger"},
            )
        )  # fmt: skip
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _OTHERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of every request that is none, which strangers send as often as they like.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _add_request(record: logging.LogRecord) -> bool:
    request = current_request.get()
    if not hasattr(record, "request_id"):  # what is refused before the app brings its own
        record.request_id = request.request_id if request is not None else "-"
    record.key = request.key_name if request is not None else None
    return True


class RareLog:
    """A logger for what strangers can cause as often as they like: each message once in so many seconds, with how many
    were left out since."""

    def __init__(self, name: str, *, seconds: float) -> None:
        self._logger = logging.getLogger(name)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, *arguments: object, request_id: str | None = None) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._written.get(message, -self._seconds) < self._seconds:
                self._left_out[message] = self._left_out.get(message, 0) + 1
                return
            self._written[message] = now
            left_out = self._left_out.pop(message, 0)
        message += f" ({left_out} more since the last line)" if left_out else ""
        extra = None if request_id is None else {"request_id": request_id}
        self._logger.warning(message, *arguments, extra=extra)
