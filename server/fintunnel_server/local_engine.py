"""The model in this process: a base, in 4 bits or 16, with adapters on top, and one inference thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fintunnel.prompt import PROMPT_VERSION, Message
from fintunnel.wire import BASE_ADAPTER
from fintunnel_training.adapter import check_base, read_adapter
from fintunnel_training.base import LoadedBase, Quantization, load_base, prompt_text, prompt_tokens
from fintunnel_training.calibration.calibration_file import read_calibration
from fintunnel_training.errors import AdapterError

from fintunnel_server.engine import AdapterInfo, EngineInfo, Field, Scores, Work
from fintunnel_server.inference.chat import Chat
from fintunnel_server.inference.choice_trie import common_prefix
from fintunnel_server.inference.model_pass import ModelPass
from fintunnel_server.inference.scheduler import Scheduler, ScoreJob, WriteJob
from fintunnel_server.inference.writing import Writing

__all__ = ["EngineLimits", "LocalEngine", "load_local_engine"]

_END = object()


@dataclass(frozen=True)
class EngineLimits:
    """`max_rows`: conversations at once; `max_waiting`: conversations that wait for one of them to end;
    `max_cache_bytes`: of keys and values, None: 1 GiB on a CPU, two fifths of what a GPU has left (while rows grow
    there are two copies); `max_pass_tokens`: fed together, which bounds how long a pass takes."""

    max_rows: int = 16
    max_waiting: int = 64
    max_cache_bytes: int | None = None
    max_pass_tokens: int = 2048


def load_local_engine(
    base: str,
    adapters: Mapping[str, Path],
    *,
    quantization: Quantization = "nf4",
    limits: EngineLimits | None = None,
    allow_unverified: bool = False,
    calibrated: bool = True,
) -> LocalEngine:
    """Load a base and, on top of it, adapter folders by name; the first one is the default.

    Args:
        calibrated: correct the probabilities where a folder holds a `calibration.json`.

    Raises:
        AdapterError: a folder is incomplete, altered, or made for another base or prompt.
        BaseModelError: the base cannot be found, loaded or served.
    """
    for name, folder in adapters.items():
        _check_name(name)
        read_adapter(folder, allow_unverified=allow_unverified)  # before the base, which takes its time
    engine = LocalEngine(load_base(base, quantization), limits or EngineLimits())
    try:
        for name, folder in adapters.items():
            engine.load_adapter(name, folder, allow_unverified=allow_unverified, calibrated=calibrated)
    except BaseException:
        engine.stop()
        raise
    return engine


class LocalEngine:
    def __init__(self, base: LoadedBase, limits: EngineLimits) -> None:
        self._base = base
        self._tokenizer = base.tokenizer
        self._model = ModelPass(
            base, max_rows=limits.max_rows, max_cache_bytes=limits.max_cache_bytes or _cache_bytes(base.device)
        )
        end = base.model.generation_config.eos_token_id
        tokens = {self._tokenizer.eos_token_id, *(end if isinstance(end, list) else [end])} - {None}
        self._end_tokens: frozenset[int] = frozenset(tokens)
        self._scheduler = Scheduler(self._model, max_pass_tokens=limits.max_pass_tokens, max_waiting=limits.max_waiting)
        self._shared: dict[str, list[int]] = {}
        self._info = EngineInfo(
            base=base.info.id, adapters={}, default_adapter=None, context_tokens=base.context_tokens
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def rows_in_use(self) -> int:
        """Conversations under way."""
        return self._scheduler.rows_in_use

    def load_adapter(self, name: str, folder: Path, *, allow_unverified: bool = False, calibrated: bool = True) -> None:
        """Add an adapter while others are being asked; the first one becomes the default. One of the same name is
        replaced.

        Raises:
            AdapterError: it cannot be read, or does not fit the base.
        """
        _check_name(name)
        manifest = read_adapter(folder, allow_unverified=allow_unverified)
        if manifest is not None:
            check_base(manifest, self._base.info)
        about = AdapterInfo(
            prompt_version=(manifest.prompt_version if manifest else None) or PROMPT_VERSION,
            edges=manifest.edges if manifest else None,
            calibration=read_calibration(folder) if calibrated else None,
        )

        def load() -> None:
            self._model.adapters.load(name, folder)
            self._scheduler.forget_adapter(name)

        self._scheduler.between_passes(load).result()
        self._info = replace(
            self._info,
            adapters={**self._info.adapters, name: about},
            default_adapter=self._info.default_adapter or name,
        )

    def count_tokens(self, messages: list[Message]) -> int:
        return len(prompt_tokens(self._tokenizer, messages))

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[_LocalConversation]:
        prompt = prompt_tokens(self._tokenizer, messages)
        text = prompt_text(self._tokenizer, messages, "{")[:-1]
        # All but the last token of what stands before an answer, however that begins.
        known = common_prefix([prompt, self._encode([text + "{"])[0]])
        common = self._shared_tokens(shared)
        chat = Chat(
            prompt[: max(known - 1, 0)],
            shared=len(common) if prompt[: len(common)] == common else 0,
            adapter=adapter,
            answer_tokens=answer_tokens,
        )
        try:
            yield _LocalConversation(self, chat, prompt, text)
        finally:
            self._scheduler.leave(chat)

    def _shared_tokens(self, shared: str) -> list[int]:
        """The tokens that all prompts begin with whose first message begins with `shared`."""
        if shared not in self._shared:
            ends = ("\n<a", "\n周", "一")
            prompts: list[list[Message]] = [[{"role": "user", "content": shared + end}] for end in ends]
            tokens = [prompt_tokens(self._tokenizer, messages) for messages in prompts]
            self._shared[shared] = tokens[0][: common_prefix(tokens)] if shared else []
        return self._shared[shared]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False).input_ids
        return encoded

    async def check(self) -> None:
        pass  # what runs in this process can be asked

    def stop(self) -> None:
        """`close` for where no event loop runs."""
        self._scheduler.close()

    async def close(self) -> None:
        await asyncio.to_thread(self.stop)


class _LocalConversation:
    def __init__(self, engine: LocalEngine, chat: Chat, prompt: list[int], text: str) -> None:
        """`text`: of the prompt, up to where the answer begins."""
        self.work = Work(prompt_tokens=len(prompt))
        self._engine = engine
        self._scheduler = engine._scheduler
        self._chat = chat
        self._prompt = prompt
        self._text = text

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        texts = [field.prefix + choice for field in fields for choice in field.choices.values()]
        tokens = iter(self._tokens(texts))
        paths = [{label: next(tokens) for label in field.choices} for field in fields]
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(_set, done, error)

        job = ScoreJob(self._chat, finish, paths=paths)
        self._scheduler.submit(job)
        await done
        self._account(job)
        return [Scores(max(scores, key=scores.__getitem__), scores) for scores in job.scores]

    async def write(
        self,
        prefix: str,
        *,
        max_tokens: int,
        in_json_string: bool = False,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        writing = Writing(
            self._engine._tokenizer,
            self._engine._end_tokens,
            max_tokens=max_tokens,
            in_json_string=in_json_string,
            temperature=temperature,
            seed=seed,
        )

        def finish(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, error or _END)

        def give(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        [answer] = self._tokens([prefix])
        job = WriteJob(self._chat, finish, answer=answer, writing=writing, piece=give)
        self._scheduler.submit(job)
        while (piece := await pieces.get()) is not _END:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        self._account(job)
        self.work.completion_tokens += len(writing.produced)
        self.work.finish_reason = writing.finished or "stop"

    def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        raise NotImplementedError("this engine continues answers")

    def _tokens(self, answers: Sequence[str]) -> list[list[int]]:
        """What follows the tokens that the chat's prompt holds, for each beginning of an answer."""
        known = self._chat.prompt
        encoded = self._engine._encode([self._text + answer for answer in answers])
        for number, answer in enumerate(answers):
            if not answer:  # the template may put more before an answer than it lets the model begin with
                encoded[number] = self._prompt
        if any(ids[: len(known)] != known for ids in encoded):
            raise ValueError("the tokenizer cuts this prompt otherwise where an answer follows it")
        return [ids[len(known) :] for ids in encoded]

    def _account(self, job: ScoreJob | WriteJob) -> None:
        began = job.began or job.ended
        self.work.queue_seconds += began - job.asked
        self.work.model_seconds += job.ended - began


def _set(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():  # its caller has left
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _cache_bytes(device: str) -> int:
    if device == "cpu":
        return 2**30
    import torch

    return int(torch.cuda.mem_get_info(device)[0] * 2 / 5)


def _check_name(name: str) -> None:
    if name == BASE_ADAPTER:
        raise AdapterError(f"适配器不能叫 {BASE_ADAPTER}：这个名字保留给不带适配器的基座。请换一个名字。")
