"""The Ollama `Modelfile` of a merged model: the tokenizer's chat template, said in Go.

The template is not recognised but measured: marked conversations are rendered, the texts between the marks become
the Go template, and a longer conversation put together from them must equal what the tokenizer renders. So ChatML,
deepseek-llm's `User: … Assistant: …` and their relatives work alike, and anything else is left out and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fintunnel.prompt import Message

__all__ = ["ChatPieces", "chat_pieces", "go_template", "modelfile"]


@dataclass(frozen=True)
class ChatPieces:
    """What stands around the contents of a conversation; `unprompted` opens one that has no system message."""

    unprompted: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    generation: str

    def render(self, messages: list[Message]) -> str:
        """The conversation, up to where the model's turn begins."""
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        turns = "".join(around[m["role"]][0] + m["content"] + around[m["role"]][1] for m in messages)
        return ("" if messages[0]["role"] == "system" else self.unprompted) + turns + self.generation


def chat_pieces(tokenizer: Any) -> ChatPieces | None:
    """Take the chat template apart; None where it is not made of fixed texts around the contents."""
    from jinja2 import TemplateError

    try:
        pieces = _measure(tokenizer)
        for sample in (_SAMPLE, _SAMPLE[1:]):
            if pieces.render(sample) != _render(tokenizer, sample, generation=True):
                return None
    except (TemplateError, ValueError):
        return None
    return pieces


_SAMPLE: list[Message] = [
    {"role": "system", "content": "你是金融分析师。"},
    {"role": "user", "content": "美国7月CPI年率 2.7%\n预期 2.8%"},
    {"role": "assistant", "content": '{"impact":"high"}'},
    {"role": "user", "content": "为什么？"},
    {"role": "assistant", "content": "低于预期，利好黄金。"},
    {"role": "user", "content": "还有呢？"},
]


def _measure(tokenizer: Any) -> ChatPieces:
    ask: Message = {"role": "user", "content": "<<ASK>>"}
    answer: Message = {"role": "assistant", "content": "<<ANSWER>>"}
    again: Message = {"role": "user", "content": "<<AGAIN>>"}
    system: Message = {"role": "system", "content": "<<SYSTEM>>"}
    asked = _render(tokenizer, [ask])
    answered = _render(tokenizer, [ask, answer])
    opening, after_user = _around(asked, ask)
    around_answer = _around(_rest(answered, asked), answer)
    before_user, _ = _around(_rest(_render(tokenizer, [ask, answer, again]), answered), again)
    before_system, after_system = _around(_render(tokenizer, [system, ask]), system)
    user_turn = before_user + ask["content"] + after_user
    if not opening.endswith(before_user) or not after_system.endswith(user_turn):
        raise ValueError("a user's turn is not always written alike")
    return ChatPieces(
        unprompted=opening.removesuffix(before_user),
        system=(before_system, after_system.removesuffix(user_turn)),
        user=(before_user, after_user),
        assistant=around_answer,
        generation=_rest(_render(tokenizer, [ask], generation=True), asked),
    )


def _render(tokenizer: Any, messages: list[Message], *, generation: bool = False) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))


def _around(text: str, message: Message) -> tuple[str, str]:
    before, found, after = text.partition(message["content"])
    if not found:
        raise ValueError("a content is altered or left out")
    return before, after


def _rest(text: str, beginning: str) -> str:
    if not text.startswith(beginning):
        raise ValueError("a later turn changes an earlier one")
    return text[len(beginning) :]


def go_template(pieces: ChatPieces) -> str | None:
    """Ollama's template; None where a piece holds what Go or the Modelfile would take for its own syntax.

    Ollama gives all system messages as `.System` and among `.Messages` too, where they are passed over.
    """
    texts = [pieces.unprompted, *pieces.system, *pieces.user, *pieces.assistant, pieces.generation]
    if any(syntax in text for text in texts for syntax in ("{{", "}}", '"""')):
        return None
    no_system = "{{ else }}" + pieces.unprompted if pieces.unprompted else ""
    return (
        "{{ if .System }}" + "{{ .System }}".join(pieces.system) + no_system + "{{ end }}"
        '{{ range .Messages }}{{ if eq .Role "user" }}'
        + "{{ .Content }}".join(pieces.user)
        + '{{ else if eq .Role "assistant" }}'
        + "{{ .Content }}".join(pieces.assistant)
        + "{{ end }}{{ end }}"
        + pieces.generation
    )


def modelfile(tokenizer: Any, context_tokens: int, *, bos_is_added: bool) -> str:
    """The text of the Modelfile.

    Args:
        bos_is_added: whether the tokenizer's configuration makes Ollama put the begin token before every prompt;
            the template's own would then be a second one.
    """
    lines = ["# 由 fintunnel export 生成。在本目录运行：ollama create my-analyst -f Modelfile", "FROM ."]
    pieces = chat_pieces(tokenizer)
    bos = tokenizer.bos_token or ""
    if pieces is not None and bos_is_added:
        pieces = replace(
            pieces,
            unprompted=pieces.unprompted.removeprefix(bos),
            system=(pieces.system[0].removeprefix(bos), pieces.system[1]),
        )
    template = None if pieces is None else go_template(pieces)
    if template is None:
        lines.append("# 这个基座的对话模板不在已知的种类里，没有写 TEMPLATE。请对照 chat_template.jinja 自己补上。")
    else:
        lines.append(f'TEMPLATE """{template}"""')
    answer_end = pieces.assistant[1].strip() if pieces is not None else ""
    for stop in dict.fromkeys((answer_end, tokenizer.eos_token or "")):
        if stop and '"' not in stop and "\n" not in stop:
            lines.append(f'PARAMETER stop "{stop}"')
    # Analyses are read by programs: the likeliest answer, and all of the context that the base has.
    lines += ["PARAMETER temperature 0", f"PARAMETER num_ctx {context_tokens}"]
    return "\n".join(lines) + "\n"
