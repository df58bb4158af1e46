"""Wrong use of the command line, in Chinese: typer says it in English, in sentences that depend on its version."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import ConfigurationError

__all__ = ["wrong_use", "wrong_use_message"]

_SENTENCES = (
    (re.compile(r"Missing option '(?P<name>[^']+)'.*"), "缺少选项 {name}"),
    (re.compile(r"Missing argument '(?P<name>[^']+)'.*"), "缺少参数 {name}"),
    (
        re.compile(r"No such option: (?P<name>\S+) (?:\(Possible options: |Did you mean )(?P<near>[^)]+)\)?"),
        "没有选项 {name}，相近的有：{near}",
    ),
    (re.compile(r"No such option: (?P<name>\S+)"), "没有选项 {name}"),
    (re.compile(r"Option '(?P<name>[^']+)' requires an argument"), "选项 {name} 后面缺少它的值"),
    (re.compile(r"Option '(?P<name>[^']+)' does not take a value"), "选项 {name} 后面不带值"),
    (
        re.compile(r"Got unexpected extra argument(?:\(s\)|s)? \((?P<name>.*)\)"),
        "多出了参数 {name}；里面有空格的文字请加引号",
    ),
)
_INVALID_VALUE = re.compile(r"Invalid value for '?(?P<name>[^':]+)'?: (?P<rule>.*)")
_CHOICE = re.compile(r"(?P<value>.+) is not one of (?P<choices>.+)")


def wrong_use_message(error: BaseException) -> str | None:
    """What an error of typer's says, in one line of English; None for any other error. typer carries a click of its
    own, whose classes are not public.
    """
    message = getattr(error, "format_message", None)
    return None if message is None else " ".join(message().split()).rstrip(".?")


def wrong_use(command: Sequence[str], error: BaseException) -> ConfigurationError:
    """
    Args:
        command: the names that lead to the command: `["dataset", "build"]`.
        error: one with a `wrong_use_message`.
    """
    message = wrong_use_message(error) or ""
    named = " ".join(command)
    if message.startswith("No such command"):
        *above, _ = command or [""]
        near = message.partition("Did you mean ")[2].replace("'", "").replace(", ", "、")
        return ConfigurationError(
            f"没有这个命令：{named}" + (f"，相近的有：{near}" if near else ""),
            advice=f"全部命令见 {' '.join(['fintunnel', *above, '--help'])}",
        )
    return ConfigurationError(
        f"选项不对：{_in_chinese(message, error.__cause__)}",
        advice=f"用法见 {' '.join(['fintunnel', *command, '--help'])}",
    )


def _in_chinese(message: str, cause: BaseException | None) -> str:
    if (invalid := _INVALID_VALUE.fullmatch(message)) is not None:
        return f"{invalid['name'].strip()} 的值{_broken_rule(invalid['rule'], cause)}"
    for pattern, sentence in _SENTENCES:
        if (found := pattern.fullmatch(message)) is not None:
            return sentence.format_map({name: text.replace(", ", "、") for name, text in found.groupdict().items()})
    return message


def _broken_rule(rule: str, cause: BaseException | None) -> str:
    # typer has pydantic check the values; by duck type, for pydantic is not to be loaded by every command.
    faults = getattr(cause, "errors", None)
    said = rule_in_chinese(faults()[0]) if callable(faults) else rule
    if (choice := _CHOICE.fullmatch(said.rstrip("."))) is not None:
        return f"应是 {choice['choices'].replace(', ', '、')} 之一，给的是 {choice['value']}"
    return said
