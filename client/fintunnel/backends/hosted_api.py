"""The backend `deepseek`: the vendor's API, or any other of OpenAI's shape. No network here.

An analysis is asked for with the very prompt that FinTunnel's models are trained on, as JSON, without thinking. What
comes back is validated; what is not valid is asked for once more, with the reason.
API: https://api-docs.deepseek.com
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from fintunnel.backends.chat import TextReader, completion_of, text_of, usage_of
from fintunnel.backends.steps import Steps
from fintunnel.backends.written_stream import WrittenReader
from fintunnel.check import Check
from fintunnel.completion import Completion
from fintunnel.errors import ConfigurationError, InvalidRequestError, MalformedAnswerError
from fintunnel.label_probabilities import label_probabilities
from fintunnel.prompt import PROMPT_VERSION, Message, render_prompt
from fintunnel.settings import Backend
from fintunnel.transport.call import Answer, Call
from fintunnel.transport.failures import clean
from fintunnel.transport.target import Target
from fintunnel.wire import (
    DIRECTIONS,
    IMPACTS,
    ModelInfo,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
    Timing,
    Usage,
)
from fintunnel.written_answer import STRUCTURE_TOKENS, analysis_from_text

__all__ = ["HostedApi"]

_TOP_LOGPROBS = 20
_CHAT = "/chat/completions"
_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass
class HostedApi:
    """`as_fallback`: it is asked because the client's own backend failed, and its answers say so."""

    target: Target
    model: str
    as_fallback: bool = False
    name: ClassVar[Backend] = "deepseek"
    # Until it refuses them; some models and some vendors do.
    _with_logprobs: bool = field(default=True, init=False)

    def analyze(self, request: NewsRequest | ReportRequest) -> Steps[NewsAnalysis | ReportAnswer]:
        _check_adapter(request)
        began = time.monotonic()
        messages = render_prompt(request).messages()
        answer = yield from self._ask(request, messages)
        try:
            return self._analysis(answer, request, began)
        except MalformedAnswerError as error:
            # In JSON mode the API now and then answers nothing, and it does not keep to a schema.
            return (
                yield from self.repair(request, _raw_text(answer), error, usage_of(answer.json.get("usage")), began)
            )

    def repair(
        self,
        request: NewsRequest | ReportRequest,
        text: str,
        problem: MalformedAnswerError,
        spent: Usage,
        began: float,
    ) -> Steps[NewsAnalysis | ReportAnswer]:
        """Ask once more. `text`, `problem`: the answer that was no good, and why; `spent`: what it cost."""
        messages = render_prompt(request).messages()
        if text:
            wish = f"这个回答不能用：{problem.message}。请重新只输出一行符合要求的JSON。"
            messages += [{"role": "assistant", "content": text[:4000]}, {"role": "user", "content": wish}]
        answer = yield from self._ask(request, messages)
        analysis = self._analysis(answer, request, began)
        usage = Usage(
            prompt_tokens=analysis.usage.prompt_tokens + spent.prompt_tokens,
            completion_tokens=analysis.usage.completion_tokens + spent.completion_tokens,
        )
        return analysis.model_copy(update={"usage": usage})

    def complete(self, messages: Sequence[Message], temperature: float, max_tokens: int) -> Steps[Completion]:
        answer = yield self._call(self._body(messages, max_tokens, temperature))
        return completion_of(answer, "deepseek", fallback=self.as_fallback)

    def stream(self, request: NewsRequest | ReportRequest) -> tuple[Call, WrittenReader]:
        _check_adapter(request)
        body = self._analysis_body(request, render_prompt(request).messages()) | _STREAM
        return self._call(body), WrittenReader(self.target, request, self.analysis_of, partial(self.repair, request))

    def stream_text(self, messages: Sequence[Message], temperature: float, max_tokens: int) -> tuple[Call, TextReader]:
        return self._call(self._body(messages, max_tokens, temperature) | _STREAM), TextReader(self.target)

    def check(self) -> Steps[Check]:
        yield Call("/models", fallback=self.as_fallback)
        answer = yield Call("/models", fallback=self.as_fallback)  # on the connection that is open by now
        try:
            models = [clean(str(each["id"]), self.target.secret)[:200] for each in answer.json["data"]]
        except (LookupError, TypeError) as error:
            raise MalformedAnswerError("模型列表不符合 OpenAI 格式", request_id=answer.request_id) from error
        if self.model not in models:
            raise ConfigurationError(
                f"{self.target.address.url()} 上没有模型 {self.model}",
                advice=f"把 DEEPSEEK_MODEL 改成其中之一：{'、'.join(models[:20])}。",
            )
        return Check(
            backend="deepseek",
            url=self.target.address.url(),
            model=self.model,
            base=self.model,
            adapter=None,
            models=models,
            round_trip_ms=round(answer.seconds * 1000, 1),
        )

    def analysis_of(
        self, text: str, request: NewsRequest | ReportRequest, *, usage: Usage, model: object, began: float
    ) -> NewsAnalysis | ReportAnswer:
        """
        Raises:
            MalformedAnswerError: `text` is not the JSON that was asked for.
        """
        took = round((time.monotonic() - began) * 1000, 1)
        return analysis_from_text(
            text,
            request,
            {
                "id": f"ana-{uuid.uuid4().hex}",
                "model": ModelInfo(
                    backend="deepseek",
                    base=str(model or self.model)[:200],
                    adapter=None,
                    prompt_version=PROMPT_VERSION,
                    fallback=self.as_fallback,
                ),
                "usage": usage,
                "timing_ms": Timing(queue=0.0, model=took, total=took),
            },
        )

    def _ask(self, request: NewsRequest | ReportRequest, messages: list[Message]) -> Steps[Answer]:
        body = self._analysis_body(request, messages)
        if not (self._with_logprobs and isinstance(request, NewsRequest)):
            return (yield self._call(body))
        try:
            return (yield self._call(body | {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}))
        except InvalidRequestError as error:
            if error.status not in (400, 422) or "logprobs" not in error.message:
                raise
        self._with_logprobs = False
        return (yield self._call(body))

    def _analysis(
        self, answer: Answer, request: NewsRequest | ReportRequest, began: float
    ) -> NewsAnalysis | ReportAnswer:
        usage = usage_of(answer.json.get("usage"))
        try:
            analysis = self.analysis_of(
                text_of(answer), request, usage=usage, model=answer.json.get("model"), began=began
            )
        except MalformedAnswerError as error:
            error.request_id = error.request_id or answer.request_id
            raise
        if isinstance(analysis, ReportAnswer):
            return analysis
        logprobs = answer.json["choices"][0].get("logprobs")
        return analysis.model_copy(
            update={
                "impact_probs": label_probabilities(logprobs, "impact", IMPACTS, analysis.impact),
                "direction_probs": label_probabilities(logprobs, "direction", DIRECTIONS, analysis.direction),
            }
        )

    def _analysis_body(self, request: NewsRequest | ReportRequest, messages: list[Message]) -> dict[str, Any]:
        body = self._body(messages, request.max_tokens + STRUCTURE_TOKENS, 0.0)
        return body | {"response_format": {"type": "json_object"}}

    def _body(self, messages: Sequence[Message], max_tokens: int, temperature: float) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": False,
            # Thinking is on by default there, costs tokens, and makes the API ignore the temperature.
            "thinking": {"type": "disabled"},
        }

    def _call(self, body: dict[str, Any]) -> Call:
        return Call(_CHAT, body, fallback=self.as_fallback)


def _check_adapter(request: NewsRequest | ReportRequest) -> None:
    if request.adapter is not None:
        raise ConfigurationError("DeepSeek 官方 API 没有适配器可选", advice="请去掉 adapter。")


def _raw_text(answer: Answer) -> str:
    try:
        text = answer.json["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        return ""
    return text if isinstance(text, str) else ""
