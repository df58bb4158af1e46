"""Two replicas of the app behind HAProxy, an upstream that quotes what it was asked, and callers with our client."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fintunnel import DeepSeekClient, FinTunnelError, NewsAnalysis
from fintunnel.local_server import LocalServer

from tests.balancer import CONFIGURATION, Balancer, balancer
from tests.server.upstream_stand_in import Upstream, upstream_server

__all__ = ["KEY", "Load", "QuotingUpstream", "Scale", "scale", "shares", "without_retries"]

KEY = "replica-key-0123456789"


class QuotingUpstream(Upstream):
    """Its rationale holds the number that the question has: another caller's answer would show."""

    def write(self, body: Mapping[str, Any]) -> list[str]:
        begun = self.continued(body)
        number = re.search(r"第\d+号", str(body["messages"]))
        if begun is None or number is None or not begun.endswith('"rationale":"'):
            return super().write(body)
        return [number[0], "：", "利率", "上行", "。", '"}']


@dataclass
class Scale:
    upstream: Upstream
    replicas: list[LocalServer]
    balancer: Balancer
    folder: Path
    said_before: list[int] = field(default_factory=lambda: [0, 0])
    """of the balancer's log, when each replica's last end began"""

    @property
    def addresses(self) -> dict[str, str]:
        """The balancer's variables."""
        return {f"REPLICA_{number}": f"127.0.0.1:{each.port}" for number, each in enumerate(self.replicas, 1)}

    def is_alive(self, number: int) -> bool:
        return self.replicas[number].process.poll() is None

    def start(self, number: int, port: int | None = None) -> LocalServer:
        arguments = ["--upstream", self.upstream.url, "--upstream-model", "tuned", "--no-page"]
        environment = {"FINTUNNEL_API_KEY": KEY, "FINTUNNEL_RATE_LIMIT": "off"}
        log = self.folder / f"replica-{number}.log"
        return LocalServer(arguments, log=log, environment=environment, port=port)

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()

    def end(self, number: int, signal_number: signal.Signals) -> int:
        """The process's status."""
        self.said_before[number] = self.balancer.said()
        self.replicas[number].process.send_signal(signal_number)
        return self.replicas[number].process.wait(40)

    def wait_until_out(self, number: int) -> float:
        """The seconds until the balancer has noticed."""
        return self.balancer.wait_for(f"replica-{number + 1} is DOWN", after=self.said_before[number])

    def start_again(self, number: int) -> None:
        """On its old port; until the balancer uses it again."""
        self.wait_until_out(number)
        said = self.balancer.said()
        self.replicas[number] = self.start(number, self.replicas[number].port).wait_until_ready(60)
        self.balancer.wait_for(f"replica-{number + 1} is UP", after=said)

    def answered(self) -> list[int]:
        """Analyses that each living replica has answered."""
        counts = []
        for number, replica in enumerate(self.replicas):
            if not self.is_alive(number):
                counts.append(0)
                continue
            headers = {"Authorization": f"Bearer {KEY}"}
            text = httpx.get(f"{replica.url}/metrics", headers=headers, trust_env=False).text
            found = re.findall(r'fintunnel_requests_total\{[^}]*route="/analyze"[^}]*status="200"[^}]*\} (\d+)', text)
            counts.append(int(found[0]) if found else 0)
        return counts

    def wait_until_used(self, since: list[int], *numbers: int, more: int = 5) -> list[int]:
        """What `answered` says once these replicas have answered so many more than `since`."""
        deadline = time.monotonic() + 30
        while min(shares(since, now := self.answered())[number] for number in numbers) < more:
            assert time.monotonic() < deadline, (since, now)
            time.sleep(0.1)
        return now


def shares(before: list[int], after: list[int]) -> list[int]:
    return [b - a for a, b in zip(before, after, strict=True)]


@contextmanager
def scale(folder: Path) -> Iterator[Scale]:
    """All of it ready."""
    with ExitStack() as stack:
        upstream = stack.enter_context(upstream_server(QuotingUpstream(drip=0.05)))
        made = Scale(upstream, [], None, folder)  # type: ignore[arg-type]  # comes below
        stack.callback(made.stop)
        made.replicas += [made.start(number) for number in (0, 1)]
        for replica in made.replicas:
            replica.wait_until_ready(60)
        # It takes every replica for good until a check fails: those are.
        made.balancer = stack.enter_context(balancer(folder, made.addresses))
        yield made


def without_retries(folder: Path) -> Path:
    """The balancer's configuration, but that it passes every failure on."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    for there, instead in (
        ("    retries 1\n", "    retries 0\n"),
        ("    option redispatch 1\n", ""),
        ("    retry-on conn-failure empty-response 503\n", "    retry-on none\n"),
    ):
        assert text.count(there) == 1
        text = text.replace(there, instead)
    path = folder / "haproxy.cfg"
    path.write_text(text, encoding="utf-8")
    return path


@dataclass
class Load:
    """What callers with our client met, each of them asking one thing after the other."""

    url: str
    answers: dict[int, NewsAnalysis] = field(default_factory=dict)
    failures: dict[int, FinTunnelError] = field(default_factory=dict)
    retried: int = 0
    longest: float = 0.0
    """seconds of one call"""
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, callers: int, meanwhile: Callable[[], object]) -> None:
        """`meanwhile` runs beside the callers, who stop asking when it has ended."""
        counter = _Retries()
        logger = logging.getLogger("fintunnel.client")
        before = logger.level
        logger.addHandler(counter)
        logger.setLevel(logging.INFO)
        try:
            with ThreadPoolExecutor(callers) as pool:
                done = [pool.submit(self._ask, batch=caller == 0) for caller in range(callers)]
                try:
                    meanwhile()
                finally:
                    self._ended.set()
                for each in done:
                    each.result()
        finally:
            logger.removeHandler(counter)
            logger.setLevel(before)
        self.retried = counter.count

    def _ask(self, *, batch: bool) -> None:
        """One of the callers sends batches of four."""
        with DeepSeekClient(backend="finetuned", url=self.url, api_key=KEY, timeout=30) as client:
            while not self._ended.is_set():
                with self._lock:
                    numbers = range(self._next, self._next + (4 if batch else 1))
                    self._next = numbers.stop
                headlines = [f"第{number}号：美联储宣布加息25个基点" for number in numbers]
                began = time.monotonic()
                results: list[Any] = []
                if batch:
                    results = client.analyze_many(headlines)
                else:
                    try:
                        results = [client.analyze(headlines[0])]
                    except FinTunnelError as error:
                        results = [error]
                with self._lock:
                    self.longest = max(self.longest, time.monotonic() - began)
                    for number, result in zip(numbers, results, strict=True):
                        to = self.failures if isinstance(result, FinTunnelError) else self.answers
                        assert number not in to
                        to[number] = result

    def check(self) -> None:
        """Every call was answered, each with its own text."""
        assert not self.failures, dict(list(self.failures.items())[:3])
        assert sorted(self.answers) == list(range(self._next))
        for number, analysis in self.answers.items():
            assert analysis.rationale == f"第{number}号：利率上行。", number


class _Retries(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "again in" in record.getMessage()
