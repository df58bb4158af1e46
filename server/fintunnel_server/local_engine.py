"""The model in this process: a 4-bit base with an adapter on top, on one inference thread.

Calls come one after another (`model.generate` and its kind are not thread-safe). The keys and values of the
last few prompts are kept, so a call that begins like an earlier one computes only what is new: the fields of
one analysis share their prompt, and all analyses share the instruction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from fintunnel.prompt import PROMPT_VERSION, Message
from fintunnel_training.adapter import Manifest, check_base, read_adapter
from fintunnel_training.base import LoadedBase, Quantization, load_base, prompt_tokens
from fintunnel_training.errors import AdapterError
from transformers import DynamicCache

from fintunnel_server.engine import BASE, EngineInfo, Generation, Scores, Work

__all__ = ["LocalEngine", "load_local_engine"]

_CACHED_PROMPTS = 4
_T = TypeVar("_T")


def load_local_engine(
    base: str,
    adapter: Path | None,
    *,
    quantization: Quantization = "nf4",
    allow_unverified: bool = False,
) -> LocalEngine:
    """Load a base and, on top of it, an adapter folder.

    Raises:
        AdapterError: the folder is incomplete, altered, or made for another base or prompt.
        BaseModelError: the base cannot be found or loaded.
    """
    manifest = None
    if adapter is not None:
        if adapter.resolve().name == BASE:
            raise AdapterError(f"适配器目录不能叫 {BASE}：这个名字保留给不带适配器的基座。请给目录改名。")
        manifest = read_adapter(adapter, allow_unverified=allow_unverified)
    loaded = load_base(base, quantization)
    if manifest is not None:
        check_base(manifest, loaded.info)
    return LocalEngine(loaded, adapter, manifest)


@dataclass
class _CachedPrompt:
    adapter: str | None
    tokens: list[int]
    cache: Any


class LocalEngine:
    def __init__(self, base: LoadedBase, adapter: Path | None, manifest: Manifest | None) -> None:
        self._tokenizer = base.tokenizer
        self._device = base.device
        self._model = base.model
        name = None
        if adapter is not None:
            from peft import PeftModel

            name = adapter.resolve().name
            try:
                self._model = PeftModel.from_pretrained(
                    base.model, str(adapter), adapter_name=name, autocast_adapter_dtype=False
                )
            except (RuntimeError, ValueError, OSError) as error:
                raise AdapterError(f"适配器 {adapter} 装不上基座 {base.info.id}：{error}"[:300]) from error
        self._model.eval()
        end = self._model.generation_config.eos_token_id
        self._end_tokens = {self._tokenizer.eos_token_id, *(end if isinstance(end, list) else [end])} - {None}
        self._cached: list[_CachedPrompt] = []  # the most recently used last
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._info = EngineInfo(
            base=base.info.id,
            adapters=(name,) if name else (),
            default_adapter=name,
            prompt_version=manifest.prompt_version if manifest else PROMPT_VERSION,
            edges=manifest.edges if manifest else None,
            context_tokens=base.context_tokens,
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def count_tokens(self, messages: list[Message]) -> int:
        return len(prompt_tokens(self._tokenizer, messages))

    async def score(
        self, messages: list[Message], prefix: str, choices: Mapping[str, str], *, adapter: str | None
    ) -> Scores:
        paths = {label: prompt_tokens(self._tokenizer, messages, prefix + text) for label, text in choices.items()}
        shared = _common_length(list(paths.values()))
        probabilities, queued, seconds = await self._run(lambda: self._walk(paths, shared, adapter))
        return Scores(probabilities, Work(queued, seconds, shared, 0))

    async def generate(
        self,
        messages: list[Message],
        *,
        adapter: str | None,
        prefix: str = "",
        max_tokens: int,
        stop: str | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Generation:
        prompt = prompt_tokens(self._tokenizer, messages, prefix)

        def work() -> tuple[str, Literal["stop", "length"], int]:
            return self._decode(prompt, adapter, max_tokens, stop, temperature, seed)

        (text, reason, count), queued, seconds = await self._run(work)
        return Generation(text, reason, Work(queued, seconds, len(prompt), count))

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    # --- on the inference thread --------------------------------------------------------------------

    async def _run(self, work: Callable[[], _T]) -> tuple[_T, float, float]:
        """Run on the inference thread; also returns seconds waited and seconds worked."""
        asked = time.monotonic()

        def timed() -> tuple[_T, float, float]:
            began = time.monotonic()
            with torch.inference_mode():
                result = work()
            return result, began - asked, time.monotonic() - began

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    def _walk(self, paths: Mapping[str, list[int]], depth: int, adapter: str | None) -> dict[str, float]:
        """Walk the trie below the first `depth` shared tokens, renormalising at each branch."""
        if len(paths) == 1:
            return dict.fromkeys(paths, 1.0)
        if any(len(path) == depth for path in paths.values()):
            raise ValueError("one choice is the beginning of another")
        branches: dict[int, dict[str, list[int]]] = {}
        for label, path in paths.items():
            branches.setdefault(path[depth], {})[label] = path
        if len(branches) == 1:
            return self._walk(paths, depth + 1, adapter)
        logits = self._logits(next(iter(paths.values()))[:depth], adapter)
        shares = torch.softmax(logits[list(branches)], dim=0).tolist()
        return {
            label: share * probability
            for share, branch in zip(shares, branches.values(), strict=True)
            for label, probability in self._walk(branch, depth + 1, adapter).items()
        }

    def _decode(
        self,
        prompt: list[int],
        adapter: str | None,
        max_tokens: int,
        stop: str | None,
        temperature: float,
        seed: int | None,
    ) -> tuple[str, Literal["stop", "length"], int]:
        generator = torch.Generator().manual_seed(seed) if seed is not None else None
        produced: list[int] = []
        while len(produced) < max_tokens:
            logits = self._logits([*prompt, *produced], adapter)
            if temperature > 0:
                weights = torch.softmax(logits / temperature, dim=0)
                token = int(torch.multinomial(weights, 1, generator=generator))
            else:
                token = int(logits.argmax())
            if token in self._end_tokens:
                return self._text(produced), "stop", len(produced)
            produced.append(token)
            if stop is not None and stop in self._tokenizer.decode([token]):
                text = self._text(produced)
                return text[: text.index(stop)] if stop in text else text, "stop", len(produced)
        return self._text(produced), "length", len(produced)

    def _text(self, tokens: list[int]) -> str:
        # A character of several tokens may be cut at the end; its half decodes to U+FFFD.
        text = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).rstrip("\ufffd")

    def _logits(self, tokens: list[int], adapter: str | None) -> Any:
        """The float32 logits (vocabulary) after `tokens`, computing only what no kept prompt begins with."""
        best = max(
            (entry for entry in self._cached if entry.adapter == adapter),
            key=lambda entry: _common_length([entry.tokens, tokens]),
            default=None,
        )
        # The last token is always fed: its logits are what is asked for.
        known = min(_common_length([best.tokens, tokens]), len(tokens) - 1) if best else 0
        if best is None or known == 0:
            best = _CachedPrompt(adapter, [], DynamicCache(config=self._model.config))
            if len(self._cached) >= _CACHED_PROMPTS:
                self._cached.pop(0)
        else:
            self._cached.remove(best)
            if known < len(best.tokens):
                best.cache.crop(known - len(best.tokens))  # negative: how many tokens to forget
        fed = torch.tensor([tokens[known:]], device=self._device)
        use_base = adapter is None and bool(self._info.adapters)
        with self._model.disable_adapter() if use_base else nullcontext():
            output = self._model(input_ids=fed, past_key_values=best.cache, use_cache=True, logits_to_keep=1)
        best.tokens = list(tokens)
        self._cached.append(best)
        return output.logits[0, -1].float().cpu()


def _common_length(sequences: list[list[int]]) -> int:
    """How many leading tokens all sequences share."""
    length = 0
    for column in zip(*sequences, strict=False):
        if any(token != column[0] for token in column):
            break
        length += 1
    return length
