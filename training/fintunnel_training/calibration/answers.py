"""Asks a served model about each row, with its context and without; every answer is kept as it arrives."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS, Edges, NewsAnalysis, NewsRequest
from pydantic import ValidationError

from fintunnel_training.errors import DataError, TrainingError

__all__ = ["AnswerCache", "ask_all", "check_raw", "question_key"]

_AT_ONCE = 4


class AnswerCache:
    """Answers in an SQLite file, by key: an interrupted run goes on where it stopped.

    Raises (from every method):
        DataError: the file is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._named_errors():
            self._connection = sqlite3.connect(path)
        try:
            with self._named_errors(), self._connection:
                self._connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT)")
        except BaseException:
            self._connection.close()
            raise

    def get(self, key: str) -> NewsAnalysis | None:
        with self._named_errors():
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        try:
            return NewsAnalysis.model_validate_json(row[0]) if row is not None else None
        except ValidationError:
            return None  # of a version whose answers looked different: asked again

    def put(self, key: str, answer: NewsAnalysis) -> None:
        with self._named_errors(), self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers (key, answer) VALUES (?, ?)", (key, answer.model_dump_json())
            )

    def remove(self) -> None:
        """Close it and delete the file: what it was kept for is done."""
        self._connection.close()
        with self._named_errors():
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DataError(f"校准回答的缓存 {self.path} 无法使用：{error}。若文件已损坏，请删掉它再运行。") from error


def question_key(request: NewsRequest, source: str) -> str:
    """`source` says whose answer it would be: the weights and what serves them."""
    asked = [source, PROMPT_VERSION, request.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


def ask_all(
    questions: Mapping[str, NewsRequest], ask: Callable[[NewsRequest], NewsAnalysis], cache: AnswerCache
) -> dict[str, NewsAnalysis]:
    """The answer to each question by its key, from the cache or from `ask`, a few at once, with a progress bar.

    `ask` is called from several threads. What it raises comes out here, once the answers under way are kept.
    """
    from tqdm import tqdm

    known = {key: cache.get(key) for key in questions}
    answers = {key: answer for key, answer in known.items() if answer is not None}
    to_ask = {key: request for key, request in questions.items() if key not in answers}
    with (
        tqdm(total=len(questions), initial=len(answers), desc="问模型", unit="条", file=sys.stderr) as bar,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):

        def keep(key: str, answer: NewsAnalysis) -> None:
            cache.put(key, answer)
            answers[key] = answer
            bar.update()

        waiting = {pool.submit(ask, request): key for key, request in to_ask.items()}
        try:
            for future in as_completed(waiting):
                keep(waiting[future], future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)  # waits for the few under way
            for future, key in waiting.items():
                if key not in answers and not future.cancelled() and future.exception() is None:
                    keep(key, future.result())
            bar.close()
            if answers:
                sys.stderr.write(f"已得到的 {len(answers)} 条回答存在 {cache.path}，再运行同一条命令会从这里继续。\n")
            raise
    return answers


def check_raw(answer: NewsAnalysis, request: NewsRequest, edges: Edges | None) -> NewsAnalysis:
    """The answer, if it holds what can be calibrated for the adapter whose classes mean `edges`.

    Raises:
        TrainingError: it is calibrated already, holds no probabilities, or is another model's.
    """
    if answer.calibrated:
        raise TrainingError("服务给出的概率已经校准过，不能再校准一次。请用 fintunnel serve --no-calibration 启动它。")
    if answer.model.adapter is None:
        raise TrainingError("服务只有基座，没有适配器。请用 fintunnel serve --adapter 启动它。")
    if None not in (edges, answer.edges) and answer.edges != edges:
        raise TrainingError(f"服务用的是另一个适配器（{answer.model.adapter}）：它的标签边界与 --adapter 的不同。")
    complete = {
        "impact_probs": set(answer.impact_probs or {}) == set(IMPACTS),
        "direction_probs": set(answer.direction_probs or {}) == set(DIRECTIONS),
        "signal_probs": request.context is None or set(answer.signal_probs or {}) == set(SIGNALS),
    }
    missing = [name for name, is_complete in complete.items() if not is_complete]
    if missing:
        raise TrainingError(f"服务没有给出完整的概率（{'、'.join(missing)}），无法校准。")
    return answer
