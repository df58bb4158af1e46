"""The model in this process: a base, in 4 bits or 16, with adapters on top, and one inference thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fintunnel.prompt import PROMPT_VERSION, Message
from fintunnel.wire import BASE_ADAPTER, DEFAULT_MODEL_NAME
from fintunnel_training.adapter import Manifest, check_base, read_adapter
from fintunnel_training.base import LoadedBase, prompt_text, prompt_tokens
from fintunnel_training.calibration.calibration_file import read_calibration
from fintunnel_training.errors import AdapterError

from fintunnel_server.engine import AdapterInfo, EngineInfo, Occupancy
from fintunnel_server.inference.adapter_weights import read_weights
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.choice_trie import common_prefix
from fintunnel_server.inference.conversation import LocalConversation, encode
from fintunnel_server.inference.json_constraint import JsonConstraints
from fintunnel_server.inference.model_pass import ModelPass
from fintunnel_server.inference.scheduler import Scheduler

__all__ = ["EngineLimits", "LocalEngine", "about_adapter", "check_name"]


@dataclass(frozen=True)
class EngineLimits:
    """`max_rows`: sequences at once; `max_waiting`: sequences that wait for one of them to end; `max_cache_bytes`: of
    keys and values, None: 1 GiB on a CPU, two fifths of what a GPU has left (while rows grow there are two copies);
    `max_pass_tokens`: of prompts fed together, which bounds how long a pass takes; `max_adapters`: loaded at once."""

    max_rows: int = 16
    max_waiting: int = 64
    max_cache_bytes: int | None = None
    max_pass_tokens: int = 2048
    max_adapters: int = 16


class LocalEngine:
    def __init__(
        self, load: Callable[[], LoadedBase], limits: EngineLimits, *, merged: Mapping[str, AdapterInfo] | None = None
    ) -> None:
        """
        Args:
            load: called on the inference thread.
            merged: the adapter that is in the base's weights already, by its name.

        Raises:
            BaseModelError: the base cannot be loaded, or served.
        """
        loaded: list[tuple[LoadedBase, ModelPass]] = []

        def make_model() -> ModelPass:
            base = load()
            cache_bytes = limits.max_cache_bytes or _cache_bytes(base.device)
            model = ModelPass(base, max_rows=limits.max_rows, max_cache_bytes=cache_bytes)
            loaded.append((base, model))
            return model

        self._scheduler = Scheduler(make_model, max_pass_tokens=limits.max_pass_tokens, max_waiting=limits.max_waiting)
        base, self._model = loaded[0]
        self._base = base
        self._limits = limits
        self._tokenizer = base.tokenizer
        end = base.model.generation_config.eos_token_id
        tokens = {self._tokenizer.eos_token_id, *(end if isinstance(end, list) else [end])} - {None}
        self._end_tokens: frozenset[int] = frozenset(tokens)
        self._constraints = JsonConstraints(self._tokenizer, self._end_tokens)
        self._shared: dict[str, list[int]] = {}
        self._info = EngineInfo(
            base=base.info.id,
            adapters=merged or {},
            default_adapter=next(iter(merged or {}), None),
            context_tokens=base.context_tokens,
            has_base=not merged,
        )
        self._merged = frozenset(merged or ())

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def rows_in_use(self) -> int:
        """Conversations under way."""
        return self._scheduler.rows_in_use

    @property
    def passes(self) -> int:
        """Forward passes so far."""
        return self._scheduler.passes

    def load_adapter(self, name: str, folder: Path, *, allow_unverified: bool = False, calibrated: bool = True) -> None:
        """Add an adapter while others are being asked; the first one becomes the default. One of the same name is
        replaced.

        Raises:
            AdapterError: it cannot be read, does not fit the base, or is one too many.
        """
        check_name(name)
        if self._merged:
            raise AdapterError("适配器已合并进基座（--merge），不能再加别的。")
        manifest = read_adapter(folder, allow_unverified=allow_unverified)
        if manifest is not None:
            check_base(manifest, self._base.info)
        about = about_adapter(manifest, folder, calibrated)

        weights = read_weights(folder)

        def load() -> None:
            adapters = self._info.adapters
            if name not in adapters and len(adapters) >= self._limits.max_adapters:
                raise AdapterError(f"已有 {len(adapters)} 个适配器，不能再加。可用 FINTUNNEL_MAX_ADAPTERS 调大上限。")
            self._model.adapters.load(name, weights)
            # With the weights, so that nobody asks these and is told of the others' classes.
            self._info = replace(
                self._info, adapters={**adapters, name: about}, default_adapter=self._info.default_adapter or name
            )

        self._scheduler.between_passes(load).result()

    def count_tokens(self, messages: list[Message]) -> int:
        return len(prompt_tokens(self._tokenizer, messages))

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[LocalConversation]:
        prompt = prompt_tokens(self._tokenizer, messages)
        text = prompt_text(self._tokenizer, messages, "{")[:-1]
        # All but the last token of what stands before an answer, however that begins.
        known = common_prefix([prompt, encode(self._tokenizer, [text + "{"])[0]])
        common = self._shared_tokens(shared)
        sequence = CachedSequence(
            prompt[: max(known - 1, 0)],
            shared=len(common) if prompt[: len(common)] == common else 0,
            adapter=self._model.adapters.take(None if adapter in self._merged else adapter),
            answer_tokens=answer_tokens,
        )
        try:
            yield LocalConversation(
                self._scheduler,
                self._tokenizer,
                self._end_tokens,
                sequence,
                self._constraints,
                prompt=prompt,
                text=text,
            )
        finally:
            self._scheduler.leave(sequence)

    def _shared_tokens(self, shared: str) -> list[int]:
        """The tokens that all prompts begin with whose first message begins with `shared`."""
        if shared not in self._shared:
            ends = ("\n<a", "\n周", "一")
            prompts: list[list[Message]] = [[{"role": "user", "content": shared + end}] for end in ends]
            tokens = [prompt_tokens(self._tokenizer, messages) for messages in prompts]
            self._shared[shared] = tokens[0][: common_prefix(tokens)] if shared else []
        return self._shared[shared]

    def occupancy(self) -> Occupancy:
        return self._scheduler.occupancy()

    async def check(self) -> None:
        self._scheduler.check()

    def stop(self) -> None:
        """`close` for where no event loop runs."""
        self._scheduler.close()

    async def close(self) -> None:
        await asyncio.to_thread(self.stop)


def about_adapter(manifest: Manifest | None, folder: Path, calibrated: bool) -> AdapterInfo:
    return AdapterInfo(
        prompt_version=(manifest.prompt_version if manifest else None) or PROMPT_VERSION,
        edges=manifest.edges if manifest else None,
        calibration=read_calibration(folder) if calibrated else None,
    )


def _cache_bytes(device: str) -> int:
    if device == "cpu":
        return 2**30
    import torch

    torch.cuda.empty_cache()  # what loading has left behind is free too
    return int(torch.cuda.mem_get_info(device)[0] * 2 / 5)


def check_name(name: str) -> None:
    """
    Raises:
        AdapterError: the name means something else in a request.
    """
    if name in (BASE_ADAPTER, DEFAULT_MODEL_NAME):
        meaning = "不带适配器的基座" if name == BASE_ADAPTER else "默认的模型"
        raise AdapterError(f"适配器不能叫 {name}：这个名字保留给{meaning}。请换一个名字。")
