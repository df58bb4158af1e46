"""compose.yaml as Compose would read it: variables filled in, profiles chosen. No engine is asked."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.dockerfile import Dockerfile

__all__ = ["MissingVariable", "interpolated", "load", "started", "stop_signal", "variables_of"]


class MissingVariable(Exception):
    """A `${NAME:?message}` whose variable is not set; with its message."""


# ${NAME}, ${NAME-default}, ${NAME:-default}, ${NAME:?message}; a default may hold ${OTHER}.
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])((?:[^${}]|\$\{\w+\})*))?\}")


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """
    Raises:
        MissingVariable: one without a value that has to be set.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match[1], match[2] or "", match[3] or ""
        given = environment.get(name)
        if given or (given is not None and not operator.startswith(":")):
            return given
        if operator.endswith("?"):
            raise MissingVariable(rest)
        if operator.endswith("-"):
            return interpolated(rest, environment)
        return ""

    filled = _VARIABLE.sub(value, text)
    assert "$" not in _VARIABLE.sub("", text), text  # a form that this does not know
    return filled


def load(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """As `docker compose config` reads it: anchors first, then variables in every value, whatever its profile."""

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value) for value in node]
        return interpolated(node, environment) if isinstance(node, str) else node

    filled = fill(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert isinstance(filled, dict)
    return filled


def variables_of(path: Path) -> dict[str, str | None]:
    """Those that it reads, not in comments, with their defaults: another variable's name where that stands in, None for
    one that has to be given."""
    text = yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")), width=10_000, allow_unicode=True)
    found: dict[str, str | None] = {}
    for name, operator, default in _VARIABLE.findall(text):
        if operator.endswith("-"):
            found[name] = default.removeprefix("${").removesuffix("}")
        elif operator.endswith("?"):
            found[name] = None
    return found


def started(compose: Mapping[str, Any], names: Sequence[str]) -> set[str]:
    """What `docker compose --profile … up NAMES` starts: these and what they depend on."""
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        wanted.add(name)
        todo += [each for each in compose["services"][name].get("depends_on", {}) if each not in wanted]
    return wanted


def stop_signal() -> signal.Signals:
    """What ends the containers of our own images: the Dockerfile says it, and compose.yaml nothing else."""
    steps = Dockerfile.read(Path(__file__).parents[1] / "Dockerfile").image({"VARIANT": "gateway"})
    [name] = [step.arguments for step in steps if step.name == "STOPSIGNAL"]
    return signal.Signals[name]
