"""Many analyses at once: how they are shared out, and when the rest is not asked any more. No network here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from fintunnel.backends.choice import Choice, checked_seconds
from fintunnel.backends.fallback import Cooldown, with_fallback
from fintunnel.backends.hosted_api import HostedApi
from fintunnel.backends.own_server import OwnServer
from fintunnel.backends.steps import Steps
from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    FinTunnelError,
    InvalidRequestError,
    QuotaError,
)
from fintunnel.wire import NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest

__all__ = ["Many", "Portion", "Progress", "check_kind", "news_request"]

Result = NewsAnalysis | ReportAnswer | FinTunnelError

_BATCH = 16  # what the server's model takes at once by default: more would wait there, and be lost with a connection
_BATCH_SECONDS = 150.0  # the server gives a batch 120 s unless told otherwise, and then answers with what is done
_HOPELESS = (AuthenticationError, QuotaError, ConfigurationError)
_UNREACHABLE_IN_A_ROW = 3


@dataclass(frozen=True)
class Progress:
    """After each result.

    Attributes:
        done, total, failed: how many of them.
        index: of the result that has just come, in the order of the requests.
        result: an analysis, or the error in its place.
    """

    done: int
    total: int
    failed: int
    index: int
    result: NewsAnalysis | ReportAnswer | FinTunnelError


@dataclass(frozen=True)
class Portion:
    """Requests that are sent together; `indices`: their places."""

    indices: list[int]
    requests: list[NewsRequest | ReportRequest]


def check_kind(request: object) -> None:
    """
    Raises:
        InvalidRequestError: neither a headline nor a request, such as what a table has in an empty cell.
    """
    if not isinstance(request, NewsRequest | ReportRequest):
        raise InvalidRequestError(f"要分析的应是一条消息或一个请求，不是 {type(request).__name__}")


def news_request(text: str, fields: dict[str, object]) -> NewsRequest:
    """
    Raises:
        InvalidRequestError: a field is not what the contract allows.
        TypeError: a second text.
    """
    if "text" in fields:
        raise TypeError("the text is given twice")
    try:
        return NewsRequest.model_validate({"text": text, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(f"请求无效：{where} {rule_in_chinese(first)}", code="invalid_request") from error


@dataclass
class Many:
    """`results` fill up in the order of the requests; what is refused at once is in them from the beginning."""

    requests: Sequence[str | NewsRequest | ReportRequest]
    fields: dict[str, object]
    choice: Choice
    cooldown: Cooldown
    on_progress: Callable[[Progress], object] | None = None
    results: list[Result | None] = field(init=False)
    _stop: FinTunnelError | None = field(default=None, init=False)
    _unreachable: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    _failed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.fields and any(isinstance(request, NewsRequest | ReportRequest) for request in self.requests):
            raise TypeError(f"fields go with headlines, not with requests: {', '.join(self.fields)}")
        self.results = [None] * len(self.requests)

    @property
    def is_batched(self) -> bool:
        return isinstance(self.choice.backend, OwnServer)

    def concurrency(self, given: int | None) -> int:
        """Portions at a time: two batches keep the server's model busy while an answer is on its way."""
        if given is None:
            return 2 if self.is_batched else 8
        if given < 1:
            raise ConfigurationError(f"concurrency 应不小于 1，不是 {given}")
        return given

    def seconds(self, given: float | None) -> float:
        """For each portion, with all that is asked again."""
        usual = self.choice.backend.target.timeouts.total
        return checked_seconds(given, max(usual, _BATCH_SECONDS) if self.is_batched else usual)

    def portions(self) -> Iterator[Portion]:
        valid: list[tuple[int, NewsRequest | ReportRequest]] = []
        for index, request in enumerate(self.requests):
            try:
                if isinstance(request, str):
                    request = news_request(request, self.fields)
                check_kind(request)
            except InvalidRequestError as error:
                self.keep([index], [error])
                continue
            valid.append((index, request))
        size = _BATCH if self.is_batched else 1
        for at in range(0, len(valid), size):
            indices, requests = zip(*valid[at : at + size], strict=True)
            yield Portion(list(indices), list(requests))

    def ask(self, portion: Portion) -> Steps[list[Result]]:
        """A result for each request of the portion; what fails stands in its place."""
        if self._stop is not None:
            return [self._stop] * len(portion.requests)
        steps, other = self._sent(portion.requests), self.choice.fallback
        if other is not None and all(request.adapter is None for request in portion.requests):
            steps = with_fallback(self.cooldown, steps, lambda: _one_by_one(other, portion.requests))
        try:
            results = yield from steps
        except FinTunnelError as error:
            self._note(error)
            return [error] * len(portion.requests)
        self._unreachable = 0
        return results

    def keep(self, indices: Iterable[int], results: Iterable[Result]) -> None:
        for index, result in zip(indices, results, strict=True):
            self.results[index] = result
            self._done += 1
            self._failed += isinstance(result, FinTunnelError)
            if self.on_progress is not None:
                self.on_progress(Progress(self._done, len(self.requests), self._failed, index, result))

    def _sent(self, requests: Sequence[NewsRequest | ReportRequest]) -> Steps[list[Result]]:
        backend = self.choice.backend
        if isinstance(backend, OwnServer):
            return (yield from backend.analyze_batch(requests))
        return [(yield from backend.analyze(requests[0]))]

    def _note(self, error: FinTunnelError) -> None:
        if isinstance(error, _HOPELESS):
            self._stop = error
        elif isinstance(error, ConnectionFailed):
            self._unreachable += 1
            if self._unreachable >= _UNREACHABLE_IN_A_ROW:
                self._stop = error


def _one_by_one(api: HostedApi, requests: Sequence[NewsRequest | ReportRequest]) -> Steps[list[Result]]:
    results: list[Result] = []
    for request in requests:
        try:
            results.append((yield from api.analyze(request)))
        except FinTunnelError as error:
            results.append(error)
    return results
