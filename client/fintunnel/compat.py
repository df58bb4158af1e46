"""The agent's old client, call for call: change its import and nothing else.

    from fintunnel.compat import DeepseekClient

That client returned error texts as answers, and agents tell them by the prefix `[错误]`; some call themselves
again on an exception, without end. So this one returns `[错误] …` and never raises. `fintunnel.DeepSeekClient`
raises, and is what new code should use.
"""

from __future__ import annotations

import time
import warnings

from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import (
    ConnectionFailed,
    FinTunnelError,
    RateLimitError,
    RequestTimeout,
    ServerFailure,
)
from fintunnel.prompt import Message
from fintunnel.settings import load_settings

__all__ = ["DeepseekClient"]

ERROR_PREFIX = "[错误]"
_RETIRED = {"deepseek-chat": "deepseek-flash", "deepseek-reasoner": "deepseek-v4-pro"}  # since 2026-07-24
_OWN_SECONDS = 60.0
_TRANSIENT = (ConnectionFailed, RequestTimeout, RateLimitError, ServerFailure)


class DeepseekClient:
    """`api_key`, `base_url` and `model` speak of the hosted API; they never reach your own server.

    With `FINTUNNEL_BACKEND=finetuned` all calls go to `FINTUNNEL_URL`, and a `timeout_seconds` under a minute is
    raised to one: ten seconds are too short for a model on a T4. `FINTUNNEL_TIMEOUT` overrides both.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        model: str | None = None,
    ) -> None:
        self._client: DeepSeekClient | None = None
        self._problem = ""
        self._timeout: float | None = None
        self._least_timeout = 0.0
        try:
            settings = load_settings()
            self._timeout = settings.timeout
            if settings.backend == "finetuned":
                self._least_timeout = _OWN_SECONDS
                self._client = DeepSeekClient(backend="finetuned")
            else:
                self._client = DeepSeekClient(
                    backend="deepseek",
                    api_key=api_key,
                    url=_base(base_url),
                    model=_current(model),
                )
        except Exception as error:  # see above: never raises
            self._problem = str(error) if isinstance(error, FinTunnelError) else f"{type(error).__name__}: {error}"

    def complete(
        self,
        prompt: str,
        timeout_seconds: float = 10.0,
        temperature: float = 0.7,
        max_tokens: int = 500,
        retry_times: int = 2,
    ) -> str:
        messages: list[Message] = [{"role": "user", "content": prompt}]
        return self._ask(messages, timeout_seconds, temperature, max_tokens, retry_times)

    def complete_with_system(
        self,
        system_prompt: str,
        user_prompt: str,
        timeout_seconds: float = 10.0,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> str:
        messages: list[Message] = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": user_prompt},
        ]
        return self._ask(messages, timeout_seconds, temperature, max_tokens, 0)

    def _ask(self, messages: list[Message], timeout: float, temperature: float, max_tokens: int, retries: int) -> str:
        if self._client is None:
            return f"{ERROR_PREFIX} {self._problem}"
        seconds = self._timeout or max(timeout, self._least_timeout)
        failure: Exception | None = None
        for attempt in range(max(0, retries) + 1):
            try:
                return self._client._complete(messages, seconds, temperature, max_tokens)
            except _TRANSIENT as error:
                failure = error
                if attempt < retries:
                    time.sleep(0.5 * 2**attempt)
            except FinTunnelError as error:
                return f"{ERROR_PREFIX} {error}"
            except Exception as error:  # an agent of that kind recurses on an exception
                return f"{ERROR_PREFIX} {type(error).__name__}: {error}"
        return f"{ERROR_PREFIX} {failure}"


def _base(url: str | None) -> str | None:
    """The API's base address from the full one that the old client took."""
    if url is None:
        return None
    return url.rstrip("/").removesuffix("/chat/completions")


def _current(model: str | None) -> str | None:
    if model is None or model not in _RETIRED:
        return model
    warnings.warn(f"{model} was retired; using {_RETIRED[model]}", DeprecationWarning, stacklevel=3)
    return _RETIRED[model]
