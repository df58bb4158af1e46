"""The servers in OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any

from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import DIRECTIONS, IMPACTS, NewsRequest

from bench.serving.load import Reply, Request
from bench.serving.peers import BOTH_LABELS, RATIONALE_TOKENS, Answer, Peer, encoded
from bench.serving.streams import first_of_chat

__all__ = ["Transformers", "Vllm"]

_SCHEMA = {
    "type": "object",
    "properties": {
        "impact": {"enum": list(IMPACTS)},
        "direction": {"enum": list(DIRECTIONS)},
        "signals": {"type": "null"},
        "rationale": {"type": "string"},
    },
    "required": ["impact", "direction", "signals", "rationale"],
    "additionalProperties": False,
}


class _Chat(Peer):
    """A server in OpenAI's shape that writes the whole JSON."""

    def options(self, most_tokens: int) -> dict[str, Any]:
        """Of a full answer: greedy, to the bound."""
        raise NotImplementedError

    def ask_full(self, request: NewsRequest) -> Request:
        options = self.options(self.form.before_rationale + RATIONALE_TOKENS)
        return self._chat(render_prompt(request).messages(), **options)

    def read_full(self, body: bytes) -> Answer:
        answer = json.loads(body)
        valid = BOTH_LABELS.search(answer["choices"][0]["message"]["content"] or "") is not None
        return Answer(valid, max(0, answer["usage"]["completion_tokens"] - self.form.before_rationale))

    def ask_stream(self, request: NewsRequest) -> Request:
        full = self.ask_full(request)
        return Request(full.path, encoded(json.loads(full.body) | {"stream": True}))

    def firsts(self, reply: Reply) -> tuple[float, float]:
        return first_of_chat(reply)

    def _chat(self, messages: list[Message], **options: Any) -> Request:
        return Request("/v1/chat/completions", encoded({"model": self.model, "messages": messages, **options}))


class Transformers(_Chat):
    """`transformers serve`: labels by its typed questions, one forward pass for each."""

    def options(self, most_tokens: int) -> dict[str, Any]:
        # -1: no end token, so that it goes on to the bound.
        return {
            "generation_config": json.dumps({"max_new_tokens": most_tokens, "do_sample": False, "eos_token_id": -1})
        }

    def ask_labels(self, request: NewsRequest) -> Request:
        questions = {
            "impact": {"type": "choice", "instructions": "消息对金价的影响", "criteria": dict.fromkeys(IMPACTS)},
            "direction": {"type": "choice", "instructions": "金价的方向", "criteria": dict.fromkeys(DIRECTIONS)},
        }
        asked = {"model": self.model, "state": render_prompt(request).input, "questions": questions}
        return Request("/v1/systemone", encoded(asked))

    def read_labels(self, body: bytes) -> Answer:
        answers = json.loads(body)["answers"]
        return Answer(answers["impact"]["choice"] in IMPACTS and answers["direction"]["choice"] in DIRECTIONS)


class Vllm(_Chat):
    """vLLM: the full answer by a JSON schema; one label as one token with the likeliest others."""

    def options(self, most_tokens: int) -> dict[str, Any]:
        schema = {"type": "json_schema", "json_schema": {"name": "analysis", "schema": _SCHEMA}}
        # ignore_eos: where the rationale is short, it goes on after the JSON.
        return {"max_tokens": most_tokens, "temperature": 0, "ignore_eos": True, "response_format": schema}

    def ask_labels(self, request: NewsRequest) -> Request:
        begun: Message = {"role": "assistant", "content": '{"impact":"'}
        return self._chat(
            [*render_prompt(request).messages(), begun],
            add_generation_prompt=False,
            continue_final_message=True,
            max_tokens=1,
            temperature=0,
            logprobs=True,
            top_logprobs=20,
        )

    def read_labels(self, body: bytes) -> Answer:
        likeliest = json.loads(body)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return Answer(any(token["token"] in IMPACTS for token in likeliest))
