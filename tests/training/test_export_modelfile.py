"""The Modelfile's Go template against what the tokenizer itself renders."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fintunnel.prompt import Message
from fintunnel_training.export.ollama import modelfile

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ 'Assistant: ' + m['content'] + eos_token }}"
    "{% else %}{{ m['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CONVERSATION: list[Message] = [
    {"role": "system", "content": "只用中文回答。"},
    {"role": "user", "content": "美联储宣布加息25个基点"},
    {"role": "assistant", "content": "利空黄金。"},
    {"role": "user", "content": "已被市场消化吗？\n第二行"},
]


def tokenizer_of(chat_template: str, bos: str = "<bos>", eos: str = "<eos>") -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token=bos, eos_token=eos, chat_template=chat_template)


def template_of(text: str) -> str:
    found = re.search(r'^TEMPLATE """(.*?)"""$', text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def render_go(template: str, messages: list[Message]) -> str:
    """The few constructs of Go's text/template that a Modelfile of ours holds, with Ollama's variables."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    return _run(re.split(r"({{.*?}})", template), {".System": system, ".Messages": messages})[0]


def _run(parts: list[str], scope: dict[str, Any]) -> tuple[str, list[str]]:
    """Render up to the `else` or `end` of this block; also returns what begins there."""
    out = ""
    while parts:
        part, parts = parts[0], parts[1:]
        if not part.startswith("{{"):
            out += part
            continue
        action = part[2:-2].strip()
        if action.startswith(("else", "end")):
            return out, [part, *parts]
        if action.startswith("if"):
            text, parts = _branches(action.removeprefix("if "), parts, scope)
            out += text
        elif action.startswith("range "):
            items = scope[action.removeprefix("range ")]
            scopes = [{".Role": item["role"], ".Content": item["content"]} for item in items]
            out += "".join(_run(parts, inner)[0] for inner in scopes)
            parts = _run(parts, {".Role": "", ".Content": ""})[1][1:]
        else:
            out += scope[action]
    return out, parts


def _branches(condition: str, parts: list[str], scope: dict[str, Any]) -> tuple[str, list[str]]:
    chosen = ""
    done = False
    while True:
        text, parts = _run(parts, scope)
        if not done and _holds(condition, scope):
            chosen, done = text, True
        action, parts = parts[0][2:-2].strip(), parts[1:]
        if action == "end":
            return chosen, parts
        condition = action.removeprefix("else").strip().removeprefix("if ")


def _holds(condition: str, scope: dict[str, Any]) -> bool:
    if equal := re.fullmatch(r'eq (\S+) "(.*)"', condition):
        return bool(scope[equal[1]] == equal[2])
    return condition == "" or bool(scope[condition])


@pytest.mark.parametrize("with_system", [True, False])
@pytest.mark.parametrize("chat_template", [CHATML, DEEPSEEK])
@pytest.mark.parametrize("bos_is_added", [True, False])
def test_the_go_template_renders_like_the_chat_template(
    chat_template: str, with_system: bool, bos_is_added: bool
) -> None:
    tokenizer = tokenizer_of(chat_template)
    messages = CONVERSATION if with_system else CONVERSATION[1:]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    rendered = render_go(template_of(modelfile(tokenizer, 4096, bos_is_added=bos_is_added)), messages)
    bos = "<bos>" if bos_is_added and chat_template == DEEPSEEK else ""  # which Ollama puts there
    assert bos + rendered == expected


def test_the_modelfile_is_whole() -> None:
    text = modelfile(tokenizer_of(CHATML, eos="<|im_end|>"), 8192, bos_is_added=False)
    lines = text.splitlines()
    assert lines[1] == "FROM ." and lines[-2:] == ["PARAMETER temperature 0", "PARAMETER num_ctx 8192"]
    assert [line for line in lines if "stop" in line] == ['PARAMETER stop "<|im_end|>"']
    deepseek = modelfile(tokenizer_of(DEEPSEEK, eos="<｜end▁of▁sentence｜>"), 4096, bos_is_added=True)
    assert 'PARAMETER stop "<｜end▁of▁sentence｜>"' in deepseek
    assert "User: {{ .Content }}\n\n" in deepseek and deepseek.rstrip().endswith("num_ctx 4096")


@pytest.mark.parametrize(
    "chat_template",
    [
        CHATML.replace("m['content']", "m['content'] | upper"),  # contents altered
        CHATML.replace("m['role'] + '\n'", "m['role'] + loop.index|string + '\n'"),  # turns counted
        CHATML + "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}",
        CHATML.replace("You are helpful.", 'Say """.'),  # the Modelfile's own mark
        CHATML.replace("You are helpful.", "Fill in {{ this }}."),  # Go's own mark
        "{% for m in messages %}{{ raise_exception('never') }}{% endfor %}",
    ],
)
def test_a_template_that_go_cannot_say_is_left_out_and_said_so(chat_template: str) -> None:
    text = modelfile(tokenizer_of(chat_template), 4096, bos_is_added=False)
    assert 'TEMPLATE "' not in text and "没有写 TEMPLATE" in text
    assert text.splitlines()[1] == "FROM ." and 'PARAMETER stop "<eos>"' in text
