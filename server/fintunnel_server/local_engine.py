"""The model in this process: a 4-bit base with an adapter on top, on one inference thread.

Calls come one after another (`model.generate` and its kind are not thread-safe). The keys and values of the
last few prompts are kept, so the fields of one analysis compute their prompt once, also when analyses take turns.
A prompt is always computed in one pass and an answer's beginning in the next: in 16 bits another cut would give
other last digits, and the same question must get the same probabilities.
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
from fintunnel.wire import BASE_ADAPTER
from fintunnel_training.adapter import Manifest, check_base, read_adapter
from fintunnel_training.base import LoadedBase, Quantization, load_base, prompt_tokens
from fintunnel_training.errors import AdapterError
from transformers import DynamicCache

from fintunnel_server.engine import EngineInfo, Generation, Scores, Work

__all__ = ["LocalEngine", "load_local_engine"]

_KEPT_PROMPTS = 4
_GREEDY_BELOW = 0.01  # below, sampling is greedy all but in name, and logits / temperature overflow
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
        if adapter.resolve().name == BASE_ADAPTER:
            raise AdapterError(f"适配器目录不能叫 {BASE_ADAPTER}：这个名字保留给不带适配器的基座。请给目录改名。")
        manifest = read_adapter(adapter, allow_unverified=allow_unverified)
    loaded = load_base(base, quantization)
    if manifest is not None:
        check_base(manifest, loaded.info)
    return LocalEngine(loaded, adapter, manifest)


@dataclass(frozen=True)
class _Prefill:
    """Keys and values of a prompt's `tokens`; what is fed after them is forgotten when the next call begins."""

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

            # The name that requests use. In peft it is "default": there a dot or "train" would clash.
            name = adapter.resolve().name
            try:
                self._model = PeftModel.from_pretrained(base.model, str(adapter), autocast_adapter_dtype=False)
            except Exception as error:  # damaged files make the libraries raise whatever they meet
                raise AdapterError(f"适配器 {adapter} 无法加载到基座 {base.info.id} 上：{error}"[:300]) from error
        self._model.eval()
        end = self._model.generation_config.eos_token_id
        self._end_tokens = {self._tokenizer.eos_token_id, *(end if isinstance(end, list) else [end])} - {None}
        self._kept: list[_Prefill] = []  # the most recently used last
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._info = EngineInfo(
            base=base.info.id,
            adapters=(name,) if name else (),
            default_adapter=name,
            prompt_version=(manifest.prompt_version if manifest else None) or PROMPT_VERSION,
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
        prompt = self._prompt_part(messages, next(iter(paths.values()))[:shared])
        probabilities, queued, seconds = await self._run(lambda: self._walk(paths, shared, prompt, adapter))
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
        tokens = prompt_tokens(self._tokenizer, messages, prefix)
        prompt = self._prompt_part(messages, tokens)

        def work() -> tuple[str, Literal["stop", "length"], int]:
            return self._decode(tokens, prompt, adapter, max_tokens, stop, temperature, seed)

        (text, reason, count), queued, seconds = await self._run(work)
        return Generation(text, reason, Work(queued, seconds, len(tokens), count))

    def _prompt_part(self, messages: list[Message], tokens: list[int]) -> list[int]:
        """The part of `tokens` that is the prompt, less one token at least: the last one fed gives the logits."""
        prompt = prompt_tokens(self._tokenizer, messages)
        return tokens[: min(_common_length([prompt, tokens]), len(tokens) - 1)]

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

    def _walk(
        self, paths: Mapping[str, list[int]], depth: int, prompt: list[int], adapter: str | None
    ) -> dict[str, float]:
        """Walk the trie below the first `depth` shared tokens, renormalising at each branch."""
        if len(paths) == 1:
            return dict.fromkeys(paths, 1.0)
        if any(len(path) == depth for path in paths.values()):
            raise ValueError("one choice is the beginning of another")
        branches: dict[int, dict[str, list[int]]] = {}
        for label, path in paths.items():
            branches.setdefault(path[depth], {})[label] = path
        if len(branches) == 1:
            return self._walk(paths, depth + 1, prompt, adapter)
        answer = next(iter(paths.values()))[len(prompt) : depth]
        logits = self._feed(self._prefill(prompt, adapter), answer)
        shares = torch.softmax(logits[list(branches)].double(), dim=0).tolist()
        return {
            label: share * probability
            for share, branch in zip(shares, branches.values(), strict=True)
            for label, probability in self._walk(branch, depth + 1, prompt, adapter).items()
        }

    def _decode(
        self,
        tokens: list[int],
        prompt: list[int],
        adapter: str | None,
        max_tokens: int,
        stop: str | None,
        temperature: float,
        seed: int | None,
    ) -> tuple[str, Literal["stop", "length"], int]:
        generator = torch.Generator().manual_seed(seed) if seed is not None else None
        prefill = self._prefill(prompt, adapter)
        produced: list[int] = []
        while len(produced) < max_tokens:
            logits = self._feed(prefill, produced[-1:] or tokens[len(prompt) :])
            if temperature >= _GREEDY_BELOW:
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

    def _prefill(self, prompt: list[int], adapter: str | None) -> _Prefill:
        """The prompt's keys and values, computed now or kept from before."""
        for kept in self._kept:
            if kept.adapter == adapter and kept.tokens == prompt:
                self._kept.remove(kept)
                self._kept.append(kept)
                fed = kept.cache.get_seq_length() - len(prompt)
                if fed > 0:
                    kept.cache.crop(-fed)  # negative: how many tokens to forget
                return kept
        new = _Prefill(adapter, prompt, DynamicCache(config=self._model.config))
        if prompt:
            self._feed(new, prompt)
        self._kept = [*self._kept[1 - _KEPT_PROMPTS :], new]
        return new

    def _feed(self, prefill: _Prefill, tokens: list[int]) -> Any:
        """Feed `tokens` after what the cache holds; returns the float32 logits (vocabulary) after the last one."""
        ids = torch.tensor([tokens], device=self._device)
        use_base = prefill.adapter is None and bool(self._info.adapters)
        with self._model.disable_adapter() if use_base else nullcontext():
            output = self._model(input_ids=ids, past_key_values=prefill.cache, use_cache=True, logits_to_keep=1)
        return output.logits[0, -1].float().cpu()


def _common_length(sequences: list[list[int]]) -> int:
    """How many leading tokens all sequences share."""
    length = 0
    for column in zip(*sequences, strict=False):
        if any(token != column[0] for token in column):
            break
        length += 1
    return length
