"""Puts the questions to the systems. What comes is kept at once; what one fails at is told, and the others go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field

from fintunnel.backends.many import Progress
from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    FinTunnelError,
    MalformedAnswerError,
    QuotaError,
    RequestTimeout,
)
from fintunnel.prompt import render_prompt
from fintunnel.wire import NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest
from fintunnel.written_answer import STRUCTURE_TOKENS

from fintunnel_training.comparison.answers import AnswerFile, Asked, StoredAnswer
from fintunnel_training.comparison.cases import Case, draw
from fintunnel_training.comparison.systems import Source, System
from fintunnel_training.errors import DataError
from fintunnel_training.serving import Connect

__all__ = ["Plan", "ask_all", "plan"]

_ALONE = 8  # questions asked one at a time, for the time that one takes
_FREE = 30  # questions put as a chat, to see in what form a model answers by itself
_CHATS_AT_ONCE = 8
_FOR_ALL = (AuthenticationError, QuotaError, ConfigurationError)  # what fails one question so fails them all
_UNREACHABLE = 3  # times in a row that nobody answered, or not in time
_IN_A_ROW = 40  # questions that failed for whatever else: more than two batches
_LEAST_TIMED = 16  # answers in one go below which a rate says nothing


@dataclass(frozen=True)
class Plan:
    """Which case is asked how. A case is among `labels` or among `text`; `free` and `alone` are news of `text`."""

    labels: list[Case] = field(default_factory=list)
    text: list[Case] = field(default_factory=list)
    free: list[Case] = field(default_factory=list)
    alone: list[Case] = field(default_factory=list)

    def by_way(self) -> dict[Asked, list[Case]]:
        """In the order of asking."""
        return {"alone": self.alone, "labels": self.labels, "text": self.text, "free": self.free}

    @property
    def count(self) -> int:
        return sum(map(len, self.by_way().values()))


def plan(cases: Sequence[Case], texts: int, seed: int) -> Plan:
    """All labels; text for `texts` news and as many report questions, drawn by the seed. Of report questions the text
    is the answer, so the others are not asked."""
    news = [case for case in cases if isinstance(case.request, NewsRequest)]
    reports = [case for case in cases if isinstance(case.request, ReportRequest)]
    written = draw(news, texts, seed)
    with_text = {case.key for case in written}
    return Plan(
        labels=[case for case in news if case.key not in with_text],
        text=written + draw(reports, texts, seed),
        free=draw(written, _FREE, seed + 1),
        alone=draw(written, _ALONE, seed + 2),
    )


def ask_all(found: Sequence[Source], wanted: Plan, answers: AnswerFile) -> dict[str, str]:
    """Ask every system what it has not answered yet, with a progress bar over everything.

    Returns:
        by the system's fingerprint why it could not be asked to the end, in Chinese.
    """
    from tqdm import tqdm

    systems = [system for source in found for system in source.systems]
    for system in systems:
        answers.put_system(system.stored)
    done = {system.stored.fingerprint: _count_known(system, wanted, answers) for system in systems}
    failures: dict[str, str] = {}
    with tqdm(
        total=wanted.count * len(systems),
        initial=sum(done.values()),
        desc="对比",
        unit="问",
        file=sys.stderr,
        disable=all(count == wanted.count for count in done.values()),
    ) as bar:
        try:
            for source in found:
                waiting = [system for system in source.systems if done[system.stored.fingerprint] < wanted.count]
                if waiting:
                    _ask_source(source, waiting, wanted, answers, bar.update, bar.set_postfix_str, failures)
        except BaseException:
            bar.close()
            sys.stderr.write(f"已得到的回答存在 {answers.path}，再运行同一条命令会从这里继续。\n")
            raise
    return failures


def _ask_source(
    source: Source,
    waiting: list[System],
    wanted: Plan,
    answers: AnswerFile,
    advance: Callable[[], object],
    say: Callable[[str], object],
    failures: dict[str, str],
) -> None:
    """What cannot be opened, or goes away, fails all of its systems that were not asked to the end."""
    try:
        with source.open() as connect:
            _ask_systems(waiting, connect, wanted, answers, advance, say, failures)
    except DataError:
        raise  # the answer file: what is asked could not be kept
    except FinTunnelError as error:
        for system in waiting:
            if _count_known(system, wanted, answers) < wanted.count:
                failures.setdefault(system.stored.fingerprint, str(error))


def _ask_systems(
    systems: list[System],
    connect: Connect,
    wanted: Plan,
    answers: AnswerFile,
    advance: Callable[[], object],
    say: Callable[[str], object],
    failures: dict[str, str],
) -> None:
    for system in systems:
        say(system.name)
        asker = _Asker(system, answers, advance)
        with connect(system.adapter) as client:
            for asked, cases in wanted.by_way().items():
                known = _known(system, asked, cases, answers)
                asker.ask(client, asked, [case for case in cases if case.key not in known])
        if isinstance(asker.gave_up, ConnectionFailed):
            raise asker.gave_up  # for whoever started the server to say why it is gone
        if asker.first_failure is not None:
            failures[system.stored.fingerprint] = str(asker.first_failure)


def _known(system: System, asked: Asked, cases: Sequence[Case], answers: AnswerFile) -> set[str]:
    stored = answers.answers(system.stored.fingerprint, asked)
    return {case.key for case in cases if case.key in stored and stored[case.key].is_final}


class _GaveUpError(Exception):
    """Leaves the client's loop."""


def _count_known(system: System, wanted: Plan, answers: AnswerFile) -> int:
    return sum(len(_known(system, asked, cases, answers)) for asked, cases in wanted.by_way().items())


@dataclass
class _Asker:
    """Asks one system. `gave_up`: why the rest is not asked: a refused key, an empty balance, a server that is gone.
    What fails one question alone, such as an answer that is none, stops nothing."""

    system: System
    answers: AnswerFile
    advance: Callable[[], object]
    first_failure: FinTunnelError | None = None
    answered: int = 0
    gave_up: FinTunnelError | None = None
    _unreachable: int = 0
    _failed: int = 0
    _last: FinTunnelError | None = None

    def ask(self, client: DeepSeekClient, asked: Asked, cases: list[Case]) -> None:
        if self.gave_up is not None or not cases:
            return
        began, before = time.monotonic(), self.answered
        if asked == "free":
            self._ask_freely(client, cases)
        elif asked == "alone":
            for case in cases:
                if self.gave_up is None:
                    self._ask_alone(client, case)
        else:
            self._ask_many(client, asked, cases)
        came = self.answered - before
        if asked in ("labels", "text") and came >= _LEAST_TIMED and came == len(cases):
            self.answers.put_rate(self.system.stored.fingerprint, asked, came, time.monotonic() - began)

    def _ask_many(self, client: DeepSeekClient, asked: Asked, cases: list[Case]) -> None:
        def keep(progress: Progress) -> None:
            self._keep(cases[progress.index], asked, progress.result)
            if self.gave_up is not None:
                raise _GaveUpError

        requests = [self._request(case, explain=asked != "labels") for case in cases]
        with suppress(_GaveUpError):
            client.analyze_many(requests, on_progress=keep)

    def _ask_alone(self, client: DeepSeekClient, case: Case) -> None:
        try:
            self._keep(case, "alone", client.analyze(self._request(case, explain=True)))
        except FinTunnelError as error:
            self._keep(case, "alone", error)

    def _ask_freely(self, client: DeepSeekClient, cases: list[Case]) -> None:
        def chat(case: Case) -> StoredAnswer:
            prompt = render_prompt(case.request, horizon_min=case.horizon_min)
            tokens = case.request.max_tokens + STRUCTURE_TOKENS
            answer = client.chat(prompt.messages(), temperature=0.0, max_tokens=tokens)
            return StoredAnswer(written=str(answer))

        with ThreadPoolExecutor(_CHATS_AT_ONCE) as pool:
            waiting = {pool.submit(chat, case): case for case in cases}
            try:
                for future in as_completed(waiting):
                    try:
                        self._store(waiting[future], "free", future.result())
                    except FinTunnelError as error:
                        self._keep(waiting[future], "free", error)
                        if self.gave_up is not None:
                            break
            finally:
                pool.shutdown(cancel_futures=True)  # waits for those under way

    def _request(self, case: Case, *, explain: bool) -> NewsRequest | ReportRequest:
        """An adapter is always named: then no fallback that the environment sets answers in its place."""
        return case.request.model_copy(update={"explain": explain, "adapter": self.system.adapter})

    def _keep(self, case: Case, asked: Asked, result: NewsAnalysis | ReportAnswer | FinTunnelError) -> None:
        if not isinstance(result, FinTunnelError) and result.model.fallback:
            result = FinTunnelError(
                "回答来自备用的 DeepSeek 官方 API，不是要比较的模型", advice="请去掉 FINTUNNEL_FALLBACK。"
            )
        if isinstance(result, FinTunnelError):
            self._note(result)
            malformed = isinstance(result, MalformedAnswerError)
            stored = StoredAnswer(failure=str(result), malformed=malformed)
            self.answers.put(self.system.stored.fingerprint, case.key, asked, stored)
            if malformed:
                self.advance()
            return
        self._unreachable = self._failed = 0
        self._store(case, asked, StoredAnswer(result))
        if asked == "alone":  # it is an answer with text like any other
            self._store(case, "text", StoredAnswer(result))

    def _note(self, failure: FinTunnelError) -> None:
        if not isinstance(failure, MalformedAnswerError):
            self.first_failure = self.first_failure or failure
            self._failed += 1
        # One failure of a batch stands in each of its places, and counts once.
        if isinstance(failure, ConnectionFailed | RequestTimeout) and failure is not self._last:
            self._unreachable += 1
        self._last = failure
        if isinstance(failure, _FOR_ALL) or self._unreachable >= _UNREACHABLE or self._failed >= _IN_A_ROW:
            self.gave_up = failure

    def _store(self, case: Case, asked: Asked, answer: StoredAnswer) -> None:
        self.answers.put(self.system.stored.fingerprint, case.key, asked, answer)
        self.answered += 1
        self.advance()
