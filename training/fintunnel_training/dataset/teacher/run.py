"""The run: questions without an answer are asked, several at a time, and every answer goes into the cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fintunnel.prompt import Message
from fintunnel.wire import HORIZON_MIN, NewsRequest

from fintunnel_training.dataset.teacher.api import BudgetReached, TeacherApi
from fintunnel_training.dataset.teacher.cache import TeacherCache
from fintunnel_training.dataset.teacher.cost import Budget, Tokens, prompt_tokens_at_most
from fintunnel_training.dataset.teacher.protocol import FAILURES_ZH, Answer, NoAnswer, Teacher, TeacherStopped
from fintunnel_training.dataset.teacher.teacher import Verdict, judge, teacher_messages

__all__ = ["Plan", "Question", "Run", "ask_all", "make_plan", "question"]

_FAILURES_IN_A_ROW = 8  # after these the server is taken to be down


@dataclass(frozen=True)
class Question:
    """`key`: the cache's, a hash of everything that decides the answer. Nothing else of a row stands here."""

    key: str
    request: NewsRequest
    horizon_min: int = HORIZON_MIN

    def messages(self) -> list[Message]:
        return teacher_messages(self.request, self.horizon_min)

    def verdict(self, answer: Answer) -> Verdict:
        return judge(answer.content, self.request, self.horizon_min, cut_off=answer.cut_off)


@dataclass(frozen=True)
class Plan:
    """`known`: what the cache answers; `to_ask`: in order, each once, at most the limit; `left`: beyond it."""

    known: dict[str, tuple[Answer, Verdict]]
    to_ask: list[Question]
    left: int

    def expected(self, max_tokens: int) -> Tokens:
        """An estimate on the high side of what asking uses."""
        prompt = sum(prompt_tokens_at_most(item.messages()) for item in self.to_ask)
        return Tokens(prompt, max_tokens * len(self.to_ask))


@dataclass
class Run:
    """What became of the questions. `failures`: by key, a key of `FAILURES_ZH`; `not_asked`: for the budget."""

    answers: dict[str, tuple[Answer, Verdict]]
    failures: dict[str, str] = field(default_factory=dict)
    over_budget: bool = False
    accepted: int = 0
    rejected: int = 0


def question(request: NewsRequest, teacher: Teacher, horizon_min: int = HORIZON_MIN) -> Question:
    asked = [teacher.url, teacher.model, teacher_messages(request, horizon_min), {"max_tokens": teacher.max_tokens}]
    return Question(hashlib.sha256(json.dumps(asked).encode()).hexdigest(), request, horizon_min)


def make_plan(
    questions: Iterable[Question], cache: TeacherCache, *, limit: int | None = None, retry_rejected: bool = False
) -> Plan:
    """Look up what is known. Cached answers are judged anew: the rules may have become stricter since."""
    known: dict[str, tuple[Answer, Verdict]] = {}
    unknown: dict[str, Question] = {}
    for item in questions:
        if item.key in known or item.key in unknown:
            continue
        answer = cache.get(item.key)
        verdict = item.verdict(answer) if answer else None
        if answer is None or verdict is None or (verdict.reason and retry_rejected):
            unknown[item.key] = item
        else:
            known[item.key] = (answer, verdict)
    to_ask = list(unknown.values())[:limit]
    return Plan(known, to_ask, len(unknown) - len(to_ask))


async def ask_all(
    plan: Plan,
    teacher: Teacher,
    cache: TeacherCache,
    budget: Budget,
    progress: Callable[[Run], None] | None = None,
) -> Run:
    """Ask what the plan says; `progress` is called after each question.

    Raises:
        TeacherStopped: the key, the balance, the address, or too many failures in a row. What was answered by
            then, answers under way included, is in the cache.
        DataError: the cache cannot be written.
    """
    run = Run(dict(plan.known))
    pending = iter(plan.to_ask)
    in_a_row: list[str] = []

    async with TeacherApi(teacher, budget) as api:

        async def worker() -> None:
            for item in pending:  # shared: each question goes to one worker
                if api.stopped is not None or run.over_budget:
                    return
                try:
                    answer = await api.ask(item.messages())
                except NoAnswer as error:
                    run.failures[item.key] = error.reason
                    in_a_row.append(str(error))
                    if len(in_a_row) >= _FAILURES_IN_A_ROW:
                        api.stop(_keeps_failing(run.failures, in_a_row[-1]))
                except BudgetReached:
                    run.over_budget = True
                except TeacherStopped as error:
                    api.stop(error)
                else:
                    in_a_row.clear()
                    verdict = item.verdict(answer)
                    cache.put(item.key, answer, verdict.reason)
                    run.answers[item.key] = (answer, verdict)
                    run.accepted += verdict.reason is None
                    run.rejected += verdict.reason is not None
                if progress is not None:
                    progress(run)

        await _together([worker() for _ in range(min(teacher.concurrency, len(plan.to_ask)))])
        if api.stopped is not None:
            raise api.stopped
    return run


async def _together(workers: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run to the end; where one raises, the others end too, and what it raised comes out as it is."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _keeps_failing(failures: dict[str, str], last: str) -> TeacherStopped:
    counts = "，".join(f"{FAILURES_ZH[reason]} {count}" for reason, count in Counter(failures.values()).items())
    return TeacherStopped(f"教师连续 {_FAILURES_IN_A_ROW} 次没有给出回答（{counts}；最后一次：{last}），已停止")
