"""What the two senders have in common: a call made ready, and its answer judged. No network here."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from fintunnel.errors import ConfigurationError, MalformedAnswerError
from fintunnel.transport.call import Answer, Budget, Call, body_bytes
from fintunnel.transport.connection_failures import connection_failure, out_of_time
from fintunnel.transport.failures import json_object, request_id_of, status_failure
from fintunnel.transport.http_clients import place_of, route_url
from fintunnel.transport.ngrok import ERROR_CODE, SKIP_WARNING, is_ngrok
from fintunnel.transport.target import Target

__all__ = ["Exchange"]

_MAX_BYTES = 16 << 20


class Exchange:
    """One call with all its attempts.

    Raises:
        InvalidRequestError: the body cannot be sent as JSON.
    """

    def __init__(self, target: Target, call: Call, budget: Budget, *, streamed: bool = False) -> None:
        self._target = target
        self._call = call
        self._content = None if call.body is None else body_bytes(call.body)
        self._headers = {"Accept": "text/event-stream" if streamed else "application/json"}
        if streamed:
            self._headers["Accept-Encoding"] = "identity"  # a compressor would hold pieces back
        if self._content is not None:
            self._headers |= {"Content-Type": "application/json", "Idempotency-Key": f"fintunnel-{uuid.uuid4().hex}"}
        self.budget = budget

    def request(self, url: httpx.URL, build: Any) -> httpx.Request:
        """`build`: an httpx client's `build_request`. The key stands in this one header, for this one host."""
        headers = {**self._target.headers, **self._headers}
        if self._target.secret:
            headers["Authorization"] = f"Bearer {self._target.secret}"
        if is_ngrok(url.host):
            headers[SKIP_WARNING] = "1"
        timeouts, left = self._target.timeouts, self.budget.left
        read = self.budget.patience.read or timeouts.read
        limits = httpx.Timeout(left, connect=min(timeouts.connect, left), read=min(read or left, left))
        method = "GET" if self._content is None else "POST"
        address = route_url(url, self._call.path)
        request: httpx.Request = build(method, address, content=self._content, headers=headers, timeout=limits)
        return request

    @contextmanager
    def typed_failures(self, host: str) -> Iterator[None]:
        """httpx's failures as FinTunnel's."""
        try:
            yield
        except httpx.LocalProtocolError as error:  # its text shows the header, and the header holds the key
            raise connection_failure(error, self._target, host, self.budget) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise connection_failure(error, self._target, host, self.budget) from error
        except RuntimeError as error:
            if "closed" not in str(error):
                raise
            raise ConfigurationError("这个客户端已经关闭，请新建一个") from error

    def check_time(self, host: str) -> None:
        """For clients that were handed in, whose waits know no deadline.

        Raises:
            RequestTimeout: it has passed.
        """
        if not self.budget.left:
            raise out_of_time(self._target, host, self.budget.seconds)

    def check_encoding(self, response: httpx.Response) -> None:
        """
        Raises:
            MalformedAnswerError: compressed more than once: each layer may swell a thousandfold unseen.
        """
        if "," in response.headers.get("content-encoding", ""):
            raise MalformedAnswerError(f"{place_of(response.request.url)} 返回的内容压缩了不止一次")

    def check_size(self, size: int, host: str) -> None:
        """
        Raises:
            MalformedAnswerError: more than any answer has.
        """
        if size > _MAX_BYTES:
            raise MalformedAnswerError(f"{host} 的回答超过 {_MAX_BYTES} 字节")

    def answer(self, response: httpx.Response, content: bytes, seconds: float) -> Answer:
        """
        Raises:
            FinTunnelError: the response is an error, or no JSON object.
        """
        host = place_of(response.request.url)
        if not response.is_success or self._is_of_the_tunnel(response):
            raise status_failure(response, content, self._target, host)
        parsed: dict[str, Any] = json_object(response, content, self._target, host) if self._call.with_json else {}
        return Answer(parsed, request_id_of(response, self._target.secret), seconds)

    def is_event_stream(self, response: httpx.Response) -> bool:
        return (
            response.is_success
            and not self._is_of_the_tunnel(response)
            and response.headers.get("content-type", "").startswith("text/event-stream")
        )

    def _is_of_the_tunnel(self, response: httpx.Response) -> bool:
        return self._target.tunnelled and ERROR_CODE in response.headers

    def no_stream(self, response: httpx.Response, content: bytes) -> Exception:
        """Why a response that should be a stream of events is none."""
        try:
            self.answer(response, content, 0.0)
        except Exception as error:
            return error
        host = place_of(response.request.url)
        return MalformedAnswerError(
            f"{host} 的回答不是事件流",
            status=response.status_code,
            request_id=request_id_of(response, self._target.secret),
        )
