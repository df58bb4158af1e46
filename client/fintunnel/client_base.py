"""What both clients are, before they send anything."""

from __future__ import annotations

from typing import Unpack

from fintunnel.backends.choice import Options, checked_retries, checked_seconds, choose
from fintunnel.backends.operations import Operations
from fintunnel.prompt import Message
from fintunnel.settings import Backend
from fintunnel.transport.call import Budget, Patience

__all__ = ["ClientBase", "with_system"]


class ClientBase:
    """One interface over both backends.

    Args:
        backend: "deepseek" (hosted) or "finetuned" (your server); default: `FINTUNNEL_BACKEND`.
        url, api_key: of that backend; default: its own environment variables. Without `FINTUNNEL_URL` your
            server is looked for in `FINTUNNEL_CONNECTION_FILE`, then through `NGROK_API_KEY`, then on this machine.
        model: of the hosted API (`DEEPSEEK_MODEL`), or of your server's chat (`fintunnel`: its default model; analyses
            choose by `adapter`).
        timeout: seconds for a whole call, all attempts together; default: `FINTUNNEL_TIMEOUT`, else 60.
        connect_timeout, read_timeout: seconds for opening a connection (10), and without a byte (`timeout`).
        max_retries: attempts after the first one, where they may help (2).
        fallback: "deepseek": the hosted API answers where your server cannot be had, and the answer says so in
            `model.fallback`; default: `FINTUNNEL_FALLBACK`, else none.
        http2: use HTTP/2 where the server speaks it (extra `http2`).
        fallback_cooldown: seconds for which your server is left alone after a fallback.

    Attributes:
        backend, model: who is asked.
        timeout: s.

    Raises:
        ConfigurationError: an unknown backend, an unusable address, or no key for the hosted API.
    """

    def __init__(self, fallback_cooldown: float, **options: Unpack[Options]) -> None:
        choice = choose(options)
        self._operations = Operations(choice, fallback_cooldown)
        self.backend: Backend = choice.backend.name
        self.model = choice.backend.model
        self.timeout = choice.backend.target.timeouts.total

    def _patience(
        self, timeout_seconds: float | None, max_retries: int | None = None, read_timeout: float | None = None
    ) -> Patience:
        return Patience(
            checked_seconds(timeout_seconds, self.timeout),
            None if max_retries is None else checked_retries(max_retries, 0),
            None if read_timeout is None else checked_seconds(read_timeout, 1.0, "read_timeout"),
        )

    def _budget(self, timeout_seconds: float | None) -> Budget:
        return Budget.of(checked_seconds(timeout_seconds, self.timeout))


def with_system(system_prompt: str, user_prompt: str) -> list[Message]:
    return [{"role": "system", "content": system_prompt}, {"role": "user", "content": user_prompt}]
