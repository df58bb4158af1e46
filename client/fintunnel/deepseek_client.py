"""`DeepSeekClient`: the agent's client, over the hosted API or over your own model.

`FINTUNNEL_BACKEND` decides when a client is made; the calls and the types of their answers are the same.
The two backends' addresses and keys are never mixed: a client knows only those of its own.
"""

from __future__ import annotations

import time
import weakref
from types import TracebackType
from typing import Any, Self, overload

import httpx
from pydantic import TypeAdapter, ValidationError

from fintunnel.api_key import clean_key
from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import ConfigurationError, InvalidRequestError, MalformedAnswerError
from fintunnel.hosted_api import analysis_from, analyze_body, chat_body, chat_text
from fintunnel.prompt import Message
from fintunnel.settings import Backend, load_settings
from fintunnel.transport import make_http_client, post_json
from fintunnel.wire import (
    DEFAULT_MODEL_NAME,
    AnalyzeResponse,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
)

__all__ = ["DeepSeekClient"]

_DEFAULT_SECONDS = 60.0
_ANSWER: TypeAdapter[NewsAnalysis | ReportAnswer] = TypeAdapter(AnalyzeResponse)


class DeepSeekClient:
    """One interface over both backends.

    Args:
        backend: "deepseek" (hosted) or "finetuned" (your server); default: `FINTUNNEL_BACKEND`.
        url, api_key, model: of that backend; default: its own environment variables.
        timeout: seconds for a whole call; default: `FINTUNNEL_TIMEOUT`, else 60.
        http_client: an httpx client of yours, which then stays yours to close.

    Raises:
        ConfigurationError: an unknown backend, an unusable address, or no key for the hosted API.
    """

    def __init__(
        self,
        *,
        backend: Backend | None = None,
        url: str | None = None,
        api_key: str | None = None,
        model: str | None = None,
        timeout: float | None = None,
        http_client: httpx.Client | None = None,
    ) -> None:
        settings = load_settings()
        self.backend: Backend = backend or settings.backend
        if self.backend not in ("deepseek", "finetuned"):
            raise ConfigurationError(f"backend {self.backend!r} 无效，只能是 deepseek 或 finetuned。")
        hosted = self.backend == "deepseek"
        secret = settings.deepseek_api_key if hosted else settings.api_key
        self._api_key = secret.get_secret_value() if secret is not None else None
        if api_key:
            try:
                self._api_key = clean_key(api_key)
            except ValueError as error:
                raise ConfigurationError(str(error)) from None
        if hosted and not self._api_key:
            raise ConfigurationError(
                "没有 DEEPSEEK_API_KEY。请设置它，或用 FINTUNNEL_BACKEND=finetuned 换成自己的模型。"
            )
        self.url = (url or (settings.deepseek_url if hosted else settings.url)).rstrip("/")
        self.model = model or (settings.deepseek_model if hosted else DEFAULT_MODEL_NAME)
        self.timeout = timeout or settings.timeout or _DEFAULT_SECONDS
        self._http = http_client or make_http_client(self.url)
        # Agents rarely close a client: its connections go with it. One that was handed in stays open.
        self._close = weakref.finalize(self, self._http.close) if http_client is None else None

    @overload
    def analyze(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> NewsAnalysis: ...

    @overload
    def analyze(self, request: ReportRequest, *, timeout_seconds: float | None = None) -> ReportAnswer: ...

    def analyze(
        self,
        request: str | NewsRequest | ReportRequest,
        *,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> NewsAnalysis | ReportAnswer:
        """Analyse a piece of news, or answer a question on report passages.

        Args:
            request: a headline, or a request from `fintunnel.wire`.
            timeout_seconds: for this call.
            fields: with a headline, the other fields of `NewsRequest` (`context`, `figures`, `explain` …).

        Raises:
            FinTunnelError: see `fintunnel.errors`. A failure is never returned as if it were an answer.
        """
        if isinstance(request, str):
            try:
                request = NewsRequest(text=request, **fields)
            except ValidationError as error:
                raise _invalid(error) from error
        elif fields:
            raise TypeError(f"fields go with a headline, not with a request: {', '.join(fields)}")
        if self.backend == "finetuned":
            return self._analyze_own(request, timeout_seconds)
        return self._analyze_hosted(request, timeout_seconds)

    def complete(
        self,
        prompt: str,
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> str:
        """The model's answer to a prompt of yours."""
        return self._complete([{"role": "user", "content": prompt}], timeout_seconds, temperature, max_tokens)

    def complete_with_system(
        self,
        system_prompt: str,
        user_prompt: str,
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> str:
        """The same with a system prompt before it."""
        messages: list[Message] = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": user_prompt},
        ]
        return self._complete(messages, timeout_seconds, temperature, max_tokens)

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- both backends ------------------------------------------------------------------------------

    def _analyze_own(self, request: NewsRequest | ReportRequest, timeout: float | None) -> NewsAnalysis | ReportAnswer:
        body = request.model_dump(mode="json", exclude_defaults=True) | {"task": request.task}
        answer = self._post("/analyze", body, timeout)
        try:
            analysis = _ANSWER.validate_python(answer)
        except ValidationError as error:
            raise MalformedAnswerError(
                f"{self.url} 的回答不符合约定（{rule_in_chinese(error.errors()[0])}），它是 fintunnel 的服务吗？"
            ) from error
        if analysis.task != request.task:
            raise MalformedAnswerError(f"问的是 {request.task}，答的是 {analysis.task}")
        return analysis

    def _analyze_hosted(
        self, request: NewsRequest | ReportRequest, timeout: float | None
    ) -> NewsAnalysis | ReportAnswer:
        if request.adapter is not None:
            raise ConfigurationError("DeepSeek 官方 API 没有适配器可选，请去掉 adapter。")
        started = time.monotonic()
        answer = self._post("/chat/completions", analyze_body(self.model, request), timeout)
        return analysis_from(answer, request, self.model, started)

    def _complete(self, messages: list[Message], timeout: float | None, temperature: float, max_tokens: int) -> str:
        if self.backend == "deepseek":
            body = chat_body(self.model, messages, max_tokens, temperature)
            return chat_text(self._post("/chat/completions", body, timeout))
        own = {
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        return chat_text(self._post("/v1/chat/completions", own, timeout))

    def _post(self, path: str, body: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        advice = (
            "请检查网络、代理和 DEEPSEEK_BASE_URL。"
            if self.backend == "deepseek"
            else "请确认 fintunnel serve 已就绪，FINTUNNEL_URL 正确；模型慢就调大 FINTUNNEL_TIMEOUT。"
        )
        return post_json(
            self._http,
            self.url + path,
            body,
            api_key=self._api_key,
            timeout=timeout or self.timeout,
            advice=advice,
        )


def _invalid(error: ValidationError) -> InvalidRequestError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return InvalidRequestError(f"请求无效：{where} {rule_in_chinese(first)}", status=422, code="invalid_request")
