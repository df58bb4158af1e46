"""What watching needs of a tunnel program, whichever it is."""

from __future__ import annotations

import json
import logging
import re
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Protocol
from urllib.error import HTTPError

__all__ = ["Agent", "AgentLog", "Trouble", "ask_loopback", "public_url"]


@dataclass(frozen=True)
class Trouble:
    """Why nobody gets through. `patience`: the seconds that the agent is given to come back by itself."""

    reason: str
    patience: float = 0.0


class Agent(Protocol):
    """One run of a tunnel program: made, opened, watched, closed, and then replaced by another."""

    def open(self) -> str:
        """Start the program; its public https URL, once requests get through.

        Raises:
            TunnelFailed: it did not open, or was closed meanwhile. The program has been ended.
        """

    def trouble(self) -> Trouble | None:
        """What is wrong with the open tunnel: seen on this machine, without a request through the tunnel."""

    def close(self) -> None:
        """End the program. From any thread, at any time, also twice; an `open` that runs fails at once."""


@dataclass(frozen=True)
class AgentLog(logging.Filter):
    """Lets the log of a tunnel program through only where debugging is asked for, without `secret`.

    The programs log each connection, and each of their attempts to reconnect for hours; ngrok also repeats a token
    that it rejects.
    """

    logger: logging.Logger
    secret: str | None = field(default=None, repr=False)

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        record.msg, record.args = message.replace(self.secret, "***") if self.secret else message, None
        return self.logger.isEnabledFor(logging.DEBUG)


# Neither a proxy of the environment nor one of the system: the address is on 127.0.0.1.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_MAX_BYTES = 1_000_000


def ask_loopback(url: str, timeout: float = 5.0) -> tuple[int, Any]:
    """The status and the JSON that a program on this machine answers.

    Raises:
        OSError: it does not answer in `timeout` seconds, or with something else.
    """
    try:
        try:
            with _direct.open(url, timeout=timeout) as response:
                return response.status, json.loads(response.read(_MAX_BYTES))
        except HTTPError as refusal:
            with refusal:
                return refusal.code, json.loads(refusal.read(_MAX_BYTES) or b"null")
    except (HTTPException, ValueError) as error:
        raise OSError(f"no JSON from {url}: {type(error).__name__}") from error


def public_url(given: str) -> str:
    """The address that a program gave, fit to stand in a command line.

    Raises:
        ValueError: it is something else.
    """
    url = given.strip().rstrip("/").lower()
    if not re.fullmatch(r"https://[a-z0-9-]+(\.[a-z0-9-]+)+", url):
        raise ValueError(f"not a public https address: {given[:200]!r}")
    return url
