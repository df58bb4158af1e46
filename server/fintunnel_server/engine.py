"""What the routes ask of a model: score the allowed answers, write text. The protocol, no implementation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fintunnel.prompt import PROMPT_VERSION, Message
from fintunnel.wire import HORIZON_MIN, Edges
from fintunnel_training.calibration.calibration_file import Calibration

__all__ = [
    "AdapterInfo",
    "Conversation",
    "Engine",
    "EngineInfo",
    "Field",
    "Occupancy",
    "Piece",
    "Sampling",
    "Scores",
    "TokenLogprob",
    "Work",
]


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter was trained for; the defaults are the bare base's."""

    prompt_version: int = PROMPT_VERSION
    edges: Edges | None = None
    calibration: Calibration | None = None

    @property
    def horizon_min(self) -> int:
        return self.edges.horizon_min if self.edges else HORIZON_MIN


@dataclass(frozen=True)
class EngineInfo:
    """`default_adapter` is None where only the base is served, `has_base` false where it cannot be asked without its
    adapter; `context_tokens` holds prompt and answer.

    `continues_answers`: a conversation can score and write after the beginning of an answer. Where it cannot, the whole
    answer is written as JSON.
    """

    base: str
    adapters: Mapping[str, AdapterInfo]
    default_adapter: str | None
    context_tokens: int
    has_base: bool = True
    continues_answers: bool = True

    def adapter(self, name: str | None) -> AdapterInfo:
        return AdapterInfo() if name is None else self.adapters[name]


@dataclass
class Work:
    """What a conversation has cost so far: seconds that its calls waited for the model and were in it, tokens in
    and out. `finish_reason`: why the last text ended."""

    queue_seconds: float = 0.0
    model_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: Literal["stop", "length"] = "stop"


@dataclass(frozen=True)
class Field:
    """One field of an answer: the answer before it, and its allowed values.

    `choices` maps labels to texts, each with the fixed text that follows it, so that it is tokenised as in training.
    """

    prefix: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Scores:
    """`choice` is the likeliest label. `probabilities` of all labels add up to 1; None from a backend that has none."""

    choice: str
    probabilities: dict[str, float] | None = field(default=None)


@dataclass(frozen=True)
class Occupancy:
    """What an engine is doing now: conversations that it works on, and that wait for their turn. `pass_rows`: how many
    forward passes so far carried so many sequences; None where another process makes them."""

    running: int
    waiting: int = 0
    pass_rows: Mapping[int, int] | None = None


@dataclass(frozen=True)
class Sampling:
    """How a reply is chosen: greedily where `temperature` is 0. `top_p`: nucleus sampling, among the likeliest tokens
    that hold so much probability. `top_logprobs`: how many alternatives are told with each token; None: no logprobs at
    all. `json_schema`: what the reply has to satisfy, token by token; None: any text."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    top_logprobs: int | None = None
    json_schema: Mapping[str, object] | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """A token with its log-probability, by the model's logits before temperature, `top_p` and schema. `raw`: its bytes,
    None where the token alone is no text; `top`: the likeliest tokens in its place."""

    text: str
    logprob: float
    raw: bytes | None
    top: Sequence[TokenLogprob] = ()


@dataclass(frozen=True)
class Piece:
    """What a step adds to a reply. `tokens`: where logprobs were asked for; the first tokens of a character that has
    several come with an empty text."""

    text: str
    tokens: Sequence[TokenLogprob] = ()


class Conversation(Protocol):
    """One prompt and an answer in the making. It holds its place in the model from its first call until it is left;
    whatever it is doing then ends."""

    @property
    def work(self) -> Work: ...

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        """Scores of each field, all in one pass. The choices of a field are scored over the trie of their tokens,
        renormalised at each branch, so that one of several tokens is not punished."""

    def write(self, prefix: str, *, max_tokens: int, in_json_string: bool = False) -> AsyncIterator[str]:
        """Continue an answer that begins with `prefix`, piece by piece, greedily, until the end token or `max_tokens`.
        `in_json_string`: `prefix` has opened a JSON string; ends at its closing quote, and what is given is the
        string's value, on one line."""

    def reply(self, *, max_tokens: int, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """A whole answer from its beginning, until the end token, `max_tokens`, or the end of the JSON.

        Raises:
            SchemaRejected: the schema is invalid, not supported, or too costly.
            SamplingRejected: this engine cannot choose so.
        """

    def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        """A whole answer that should satisfy a JSON schema: where `continues_answers` is false."""


class Engine(Protocol):
    """`adapter` is one of `info.adapters`, or None for the bare base."""

    @property
    def info(self) -> EngineInfo: ...

    def count_tokens(self, messages: list[Message]) -> int:
        """Tokens of the prompt, chat template included.

        Raises:
            PromptRejectedError: the template does not allow such a conversation.
        """

    def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AbstractAsyncContextManager[Conversation]:
        """Begin a conversation.

        Args:
            answer_tokens: room for the whole answer.
            shared: the beginning of the first message that many conversations have in common; the model computes it
                once for all of them.

        Raises:
            EngineBusy: (from its first call) too many conversations are waiting.
            EngineFull: (from any call) the model's memory does not hold it, or not now.
        """

    def occupancy(self) -> Occupancy: ...

    async def check(self) -> None:
        """Raise where the model cannot be asked now."""

    async def close(self) -> None:
        """End what is under way; nothing can be asked any more."""
