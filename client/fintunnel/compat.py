"""The agent's old client, call for call: change its import and nothing else.

    from fintunnel.compat import DeepseekClient

That client returned error texts as answers, and agents tell them by the prefix `[错误]`; some call themselves
again on an exception, without end. So this one returns `[错误] …` and never raises. `fintunnel.DeepSeekClient`
raises, and is what new code should use.
"""

from __future__ import annotations

from fintunnel.backends.choice import MOST_RETRIES
from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import ERROR_PREFIX, FinTunnelError
from fintunnel.prompt import Message
from fintunnel.settings import load_settings

__all__ = ["DeepseekClient"]

_OWN_SECONDS = 60.0


class DeepseekClient:
    """`api_key`, `base_url` and `model` speak of the hosted API; they never reach your own server.

    With `FINTUNNEL_BACKEND=finetuned` all calls go to your server, wherever it is found, and a `timeout_seconds` under
    a minute is raised to one: ten seconds are too short for a model on a T4. `FINTUNNEL_TIMEOUT` overrides both.
    `timeout_seconds` is for one attempt, as it was in the old client.
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
                self._client = DeepSeekClient(backend="deepseek", api_key=api_key, url=base_url, model=model)
        except Exception as error:  # see above: never raises
            self._problem = _text(error)

    def complete(
        self,
        prompt: str,
        timeout_seconds: float = 10.0,
        temperature: float = 0.7,
        max_tokens: int = 500,
        retry_times: int = 2,
    ) -> str:
        """The answer, or `[错误] …`. `timeout_seconds`: of one attempt; `retry_times`: attempts after the first."""
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
        """The same with a system prompt before it, and one attempt."""
        messages: list[Message] = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": user_prompt},
        ]
        return self._ask(messages, timeout_seconds, temperature, max_tokens, 0)

    def _ask(self, messages: list[Message], timeout: float, temperature: float, max_tokens: int, retries: int) -> str:
        if self._client is None:
            return f"{ERROR_PREFIX} {self._problem}"
        try:
            attempt = self._timeout or max(timeout, self._least_timeout)
            retries = min(max(0, retries), MOST_RETRIES)
            answer = self._client.chat(
                messages,
                attempt * (retries + 1),
                temperature,
                max_tokens,
                max_retries=retries,
                read_timeout=attempt,
            )
            return str(answer)  # what the old client returned
        except Exception as error:  # an agent of that kind recurses on an exception
            return f"{ERROR_PREFIX} {_text(error)}"


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, FinTunnelError) else f"{type(error).__name__}: {error}"
