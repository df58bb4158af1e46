"""The run: questions without an answer are asked, several at a time, and every answer goes into the cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fintunnel.prompt import Message
from fintunnel.wire import HORIZON_MIN, NewsRequest

from fintunnel_training.dataset.checks.findings import excerpt
from fintunnel_training.dataset.teacher.api import BudgetReached, TeacherApi
from fintunnel_training.dataset.teacher.cache import TeacherCache
from fintunnel_training.dataset.teacher.cost import Budget, Tokens, prompt_tokens_at_most
from fintunnel_training.dataset.teacher.protocol import FAILURES_ZH, Answer, NoAnswer, Teacher, TeacherStopped
from fintunnel_training.dataset.teacher.teacher import REASONS_ZH, Verdict, judge, teacher_messages

__all__ = ["Plan", "Question", "Run", "ask_all", "make_plan", "question", "rationales"]

_FAILURES_IN_A_ROW = 8  # after these the server is taken to be down
_REJECTED_IN_A_ROW = 20  # after these the teacher is taken to be unable to do it: each was paid for


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
    """What became of the questions. `failures`: by key, a key of `FAILURES_ZH`; `last_failure`: in words.
    `accepted`, `rejected`: answers that came in this run; `rejected_in_a_row`: reason (a key of `REASONS_ZH`) and
    content of those since the last accepted one."""

    answers: dict[str, tuple[Answer, Verdict]]
    failures: dict[str, str] = field(default_factory=dict)
    last_failure: str = ""
    over_budget: bool = False
    accepted: int = 0
    rejected: int = 0
    rejected_in_a_row: list[tuple[str, str]] = field(default_factory=list)

    def take(self, key: str, answer: Answer, verdict: Verdict) -> None:
        self.answers[key] = (answer, verdict)
        if verdict.reason is None:
            self.accepted += 1
            self.rejected_in_a_row.clear()
        else:
            self.rejected += 1
            self.rejected_in_a_row.append((verdict.reason, answer.content))


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
        TeacherStopped: the key, the balance, the address, too many failures or rejected answers in a row, or not one
            answer accepted. What was answered by then, answers under way included, is in the cache.
        DataError: the cache cannot be written.
    """
    run = Run(dict(plan.known))
    pending = iter(plan.to_ask)
    failed_in_a_row = 0

    async with TeacherApi(teacher, budget) as api:

        async def worker() -> None:
            nonlocal failed_in_a_row
            for item in pending:  # shared: each question goes to one worker
                if api.stopped is not None or run.over_budget:
                    return
                try:
                    answer = await api.ask(item.messages())
                except NoAnswer as error:
                    run.failures[item.key], run.last_failure = error.reason, str(error)
                    failed_in_a_row += 1
                    if failed_in_a_row >= _FAILURES_IN_A_ROW:
                        api.stop(TeacherStopped(f"教师连续 {failed_in_a_row} 次没有给出回答{_failures(run)}，已停止"))
                except BudgetReached:
                    run.over_budget = True
                except TeacherStopped as error:
                    api.stop(error)
                else:
                    failed_in_a_row = 0
                    verdict = item.verdict(answer)
                    cache.put(item.key, answer, verdict.reason)
                    run.take(item.key, answer, verdict)
                    if len(run.rejected_in_a_row) >= _REJECTED_IN_A_ROW:
                        api.stop(_keeps_being_rejected(run))
                if progress is not None:
                    progress(run)

        await _together([worker() for _ in range(min(teacher.concurrency, len(plan.to_ask)))])
        if api.stopped is not None:
            raise api.stopped
    if plan.to_ask and not run.accepted:
        raise _nothing_accepted(run)
    return run


def rationales(run: Run, keys: Mapping[str, Sequence[str | None]]) -> dict[str, list[str | None]]:
    """What each row gets, None where it keeps its own; in and out by split, one for each row.

    An answer serves the first row of its question alone: rows of one question differ in nothing but their rationale,
    and with the same one they would be copies.
    """
    left = {key: verdict.rationale for key, (_, verdict) in run.answers.items()}
    return {split: [left.pop(key, None) if key else None for key in part] for split, part in keys.items()}


async def _together(workers: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run to the end; where one raises, the others end too, and what it raised comes out as it is."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _keeps_being_rejected(run: Run) -> TeacherStopped:
    return TeacherStopped(
        f"教师连续 {len(run.rejected_in_a_row)} 条回答都被拒收（{_why_rejected(run)}），已停止。"
        "请看例子哪里不合要求，换一个 --teacher-model 再试；--retry-rejected 会重新问被拒收的"
    )


def _nothing_accepted(run: Run) -> TeacherStopped:
    parts = [f"问了 {run.rejected + len(run.failures)} 个题目，没有一条回答被采纳"]
    if run.failures:
        parts.append(f"没有得到回答 {len(run.failures)} 个{_failures(run)}")
    if run.rejected:
        parts.append(f"拒收 {run.rejected} 个（{_why_rejected(run)}）")
    return TeacherStopped("，".join(parts) + ("，到了预算" if run.over_budget else ""))


def _failures(run: Run) -> str:
    counts = "，".join(f"{FAILURES_ZH[reason]} {count}" for reason, count in Counter(run.failures.values()).items())
    return f"（{counts}；最后一次：{run.last_failure}）"


def _why_rejected(run: Run) -> str:
    (reason, count), *_ = Counter(reason for reason, _ in run.rejected_in_a_row).most_common(1)
    content = next(content for other, content in reversed(run.rejected_in_a_row) if other == reason)
    example = f"，例如：{excerpt(content.strip())}" if content.strip() else ""
    return f"最常见的原因：{REASONS_ZH[reason]}，{count} 条{example}"
