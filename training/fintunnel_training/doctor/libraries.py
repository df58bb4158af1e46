"""Installed library versions against the lower bounds of the `training` extra."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

from fintunnel_training.doctor.findings import INSTALL, Finding

__all__ = ["is_older", "libraries", "lower_bound"]

# Without these nothing is trained. The first ones are shown; torch has a line of its own.
_SHOWN = ("transformers", "peft", "trl", "bitsandbytes", "accelerate")
_NEEDED = (*_SHOWN, "datasets", "safetensors", "gguf", "numpy", "platformdirs", "filelock")
_BOUND = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*>=\s*(?P<least>[\d.]+)\s*;.*extra\s*==\s*['\"]training['\"]")


def libraries() -> Finding:
    """Versions only: importing trl alone takes 9 seconds."""
    shown, wrong = [], []
    for name in _NEEDED:
        try:
            installed = version(name)
        except PackageNotFoundError:
            wrong.append(f"没有安装 {name}")
            continue
        least = lower_bound(name)
        if least and is_older(installed, least):
            wrong.append(f"{name} {installed} 太旧（需要 {least} 以上）")
        elif name in _SHOWN:
            shown.append(f"{name} {installed}")
    if wrong:
        return Finding("failure", "；".join(wrong), f"请运行：{INSTALL}")
    return Finding("ok", "、".join(shown))


def lower_bound(name: str) -> str | None:
    """The least version of a library that the `training` extra asks for; None where it asks for none."""
    for requirement in requires("fintunnel") or []:
        match = _BOUND.match(requirement)
        if match and match["name"].lower() == name:
            return match["least"]
    return None


def is_older(installed: str, least: str) -> bool:
    """Compare the leading numbers: `2.13.0+cu128` is 2.13.0, and our bounds name final releases only."""
    return _numbers(installed) < _numbers(least)


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:  # 2.0 is 2
        numbers.pop()
    return tuple(numbers)
