"""What the engine's answers have to equal: one request at a time, whole forward passes without any cache, peft's own
layers, transformers' own `generate`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import DIRECTIONS, IMPACTS, NewsRequest
from fintunnel_training.base import LoadedBase, Quantization, load_base, prompt_tokens


@dataclass(frozen=True)
class Labels:
    impact: dict[str, float]
    direction: dict[str, float]
    signals: dict[str, float] | None


class PlainReference:
    def __init__(self, adapter: Path, quantization: Quantization = "nf4", *, exact: bool = False) -> None:
        """`exact`: in float32 and without quantisation."""
        from peft import PeftModel

        self.base = loaded(quantization, exact=exact)
        self.tokenizer = self.base.tokenizer
        self.model: Any = PeftModel.from_pretrained(self.base.model, str(adapter), autocast_adapter_dtype=False)
        if exact:
            self.model.float()
        for name, parameter in self.model.named_parameters():
            if "lora_" in name:  # computes as the base does, whatever it was saved in
                parameter.data = parameter.data.to(self.base.model.dtype)
        self.model.eval()
        self._known: dict[tuple[tuple[int, ...], str | None], Any] = {}

    def labels(self, request: NewsRequest, adapter: str | None) -> Labels:
        """Field by field, as `/analyze` is defined: direction as its marginal, signals after the likeliest labels."""
        messages = render_prompt(request).messages()
        with_context = request.context is not None
        before, between = '{"impact":"', '","direction":"'
        after = '","signals":' + ('{"priced_in":' if with_context else 'null,"rationale":"')
        impact = self.scores(messages, before, {i: i + between for i in IMPACTS}, adapter)
        given = {
            i: self.scores(messages, before + i + between, {d: d + after for d in DIRECTIONS}, adapter) for i in IMPACTS
        }
        direction = {str(d): sum(impact[i] * given[i][d] for i in IMPACTS) for d in DIRECTIONS}
        if not with_context:
            return Labels(impact, direction, None)
        answer = before + most_likely(impact) + between + most_likely(direction) + after
        first = self.scores(messages, answer, {v: v + ',"wait_and_see":' for v in ("true", "false")}, adapter)
        answer += most_likely(first) + ',"wait_and_see":'
        second = self.scores(messages, answer, {v: v + '},"rationale":"' for v in ("true", "false")}, adapter)
        return Labels(impact, direction, {"priced_in": first["true"], "wait_and_see": second["true"]})

    def scores(
        self, messages: list[Message], prefix: str, choices: Mapping[str, str], adapter: str | None
    ) -> dict[str, float]:
        """Each choice's tokens one by one; at each the share among those that some choice has there."""
        paths = {label: prompt_tokens(self.tokenizer, messages, prefix + text) for label, text in choices.items()}
        start = len(prompt_tokens(self.tokenizer, messages, prefix)) - 3
        probabilities = {}
        for label, path in paths.items():
            logarithm = 0.0
            for at in range(start, len(path)):
                following = {other[at] for other in paths.values() if other[:at] == path[:at] and len(other) > at}
                if len(following) > 1:
                    logits = self._logits(tuple(path[:at]), adapter)
                    highest = max(float(logits[token]) for token in following)
                    total = sum(math.exp(float(logits[token]) - highest) for token in following)
                    logarithm += float(logits[path[at]]) - highest - math.log(total)
            probabilities[label] = math.exp(logarithm)
        return probabilities

    def text(self, messages: list[Message], prefix: str, max_tokens: int, adapter: str | None) -> str:
        tokens = prompt_tokens(self.tokenizer, messages, prefix)
        with torch.inference_mode(), self._adapter(adapter):
            whole = self.model.generate(
                input_ids=torch.tensor([tokens], device=self.base.device),
                attention_mask=torch.ones(1, len(tokens), dtype=torch.long, device=self.base.device),
                max_new_tokens=max_tokens,
                do_sample=False,
            )
        return str(self.tokenizer.decode(whole[0, len(tokens) :], skip_special_tokens=True))

    def _logits(self, tokens: tuple[int, ...], adapter: str | None) -> Any:
        """float32, from the last layer's output: in 16 bits two choices often tie."""
        if (tokens, adapter) not in self._known:
            self._known[tokens, adapter] = self._pass(tokens, adapter)
        return self._known[tokens, adapter]

    def _pass(self, tokens: tuple[int, ...], adapter: str | None) -> Any:
        with torch.inference_mode(), self._adapter(adapter):
            core = self.model.base_model.model
            ids = torch.tensor([list(tokens)], device=self.base.device)
            hidden = core.model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
            return (core.lm_head.weight.float() @ hidden.float()).cpu()

    def _adapter(self, adapter: str | None) -> Any:
        return self.model.disable_adapter() if adapter is None else nullcontext()


def loaded(quantization: Quantization, *, exact: bool = False) -> LoadedBase:
    base = load_base("embedded", "none" if exact else quantization)
    return dataclasses.replace(base, model=base.model.float()) if exact else base


def most_likely(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def largest_gap(ours: Mapping[Any, float] | None, theirs: Mapping[Any, float] | None) -> float:
    assert ours is not None and theirs is not None and set(ours) == set(theirs)
    return max(abs(ours[label] - theirs[label]) for label in theirs)


def requests(texts: list[str]) -> Iterator[NewsRequest]:
    """Every other one with context."""
    from fintunnel.wire import Context

    context = Context(pre_return=0.0021, volatility=0.0034, typical_move=0.0007)
    for number, text in enumerate(texts):
        yield NewsRequest(text=text, context=context if number % 2 else None)
