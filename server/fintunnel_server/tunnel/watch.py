"""Opens a tunnel, watches it, and opens it again when it is lost.

Nothing is asked through the tunnel, whose requests are counted: what is watched is the agent's process, its log and its
API on this machine.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel.agent import Agent
from fintunnel_server.tunnel.backoff import Backoff
from fintunnel_server.tunnel.publication import Publication

__all__ = ["Tunnel", "TunnelState"]

logger = logging.getLogger("fintunnel.tunnel")

_JOIN_SECONDS = 10.0


@dataclass(frozen=True)
class TunnelState:
    """At one moment. `url`: None before it was opened, after it was closed or given up; while it is lost, the last one.
    `reopened`: how often it was open again after it had been lost."""

    url: str | None = None
    is_open: bool = False
    reopened: int = 0


class Tunnel:
    """Open inside its `with` block, as far as that can be had.

    Entering opens it, and fails where it does not open. From then on a thread replaces an agent that ended, or that did
    not come back by itself in time; an error that trying again cannot heal ends that, and the local server goes on.

    Args:
        new_agent: an agent that was not opened yet.
        tick: seconds between two looks at the agent.
    """

    def __init__(
        self,
        new_agent: Callable[[], Agent],
        publication: Publication,
        *,
        backoff: Backoff | None = None,
        tick: float = 1.0,
    ) -> None:
        self._new_agent = new_agent
        self._publication = publication
        self._backoff = backoff or Backoff()
        self._tick = tick
        self._state = TunnelState()
        self._agent: Agent | None = None
        self._stop = Event()
        self._lock = Lock()  # an agent is made, or the tunnel is left: one before the other
        self._thread = Thread(target=self._watch, name="tunnel", daemon=True)
        self._attempt = 0
        self._opened_at = 0.0

    @property
    def state(self) -> TunnelState:
        """Now; from any thread."""
        return self._state

    def __enter__(self) -> Self:
        """
        Raises:
            TunnelFailed: it did not open; the message says what to do.
        """
        self._agent = self._new_agent()
        try:
            self._is_open(self._agent.open())
        except BaseException:  # Ctrl+C too
            self._agent.close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stop.set()
        if self._agent is not None:
            self._agent.close()
        self._thread.join(_JOIN_SECONDS)
        self._over()

    def _watch(self) -> None:
        try:
            while self._agent is not None and self._until_lost(self._agent):
                self._agent.close()
                logger.info("tunnel: starting another agent")
                if not self._reopen():
                    return
        except Exception as error:  # its text may repeat the agent's log
            logger.error("tunnel: no longer watched, after %s", type(error).__name__)

    def _until_lost(self, agent: Agent) -> bool:
        """True once an agent has to be replaced; false when the tunnel is left."""
        since: float | None = None
        while not self._stop.wait(self._tick):
            trouble = agent.trouble()
            if trouble is None:
                if since is not None:
                    self._is_open(None)
                since = None
                continue
            if since is None:
                since = time.monotonic()
                self._is_lost(trouble.reason)
            if time.monotonic() - since >= trouble.patience:
                return not self._stop.is_set()
        return False

    def _reopen(self) -> bool:
        """Try until it opens; false where it was left before, or cannot be healed by trying again."""
        if time.monotonic() - self._opened_at >= self._backoff.steady:
            self._attempt = 0
        told = ""
        while not self._stop.wait(self._backoff.wait(self._attempt)):
            self._attempt += 1
            try:
                with self._lock:
                    if self._stop.is_set():
                        return False
                    self._agent = agent = self._new_agent()
                url = agent.open()
            except OSError as failure:  # of this machine: no memory, no place in /tmp
                logger.warning("tunnel: not open yet, trying on after %s", type(failure).__name__)
            except TunnelFailed as failure:  # the agent has closed itself
                if self._stop.is_set():
                    return False
                if failure.permanent:
                    logger.error("tunnel: it stays closed, the local server goes on. %s", failure)
                    self._over()
                    return False
                # Ports and times differ from one attempt to the next; the reason is told once.
                if (reason := re.sub(r"\d+", "#", str(failure))) != told:
                    logger.warning("tunnel: not open yet, trying on. %s", failure)
                    told = reason
                continue
            if self._stop.is_set():
                return False
            self._is_open(url)
            return True
        return False

    def _is_open(self, url: str | None) -> None:
        """`url`: None where the agent came back by itself."""
        before = self._state
        url = url or before.url
        assert url is not None
        self._state = TunnelState(url, True, before.reopened + (before.url is not None))
        self._opened_at = time.monotonic()
        if before.url is not None:
            logger.info("tunnel: open again at %s (reopened: %d)", url, self._state.reopened)
        if url != before.url:
            self._publication.opened(url)

    def _is_lost(self, reason: str) -> None:
        self._state = replace(self._state, is_open=False)
        logger.warning("tunnel: lost, %s", reason)

    def _over(self) -> None:
        if self._state.url is not None:
            self._publication.closed()
        self._state = TunnelState(reopened=self._state.reopened)
