"""Reads the Dockerfile: its stages, which of them a target needs, and what of a RUN needs root."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Dockerfile", "Stage", "Step", "exec_form", "substituted", "without_root"]

_NEEDS_ROOT = {"useradd", "groupadd", "chown", "apt-get"}


@dataclass(frozen=True)
class Step:
    name: str
    arguments: str


@dataclass
class Stage:
    name: str
    """of `AS`; empty where there is none"""
    base: str
    """an image, or an earlier stage; may hold `${…}`"""
    steps: list[Step] = field(default_factory=list)

    def copied_stages(self) -> list[str]:
        """Those that it takes files from."""
        copies = (step.arguments for step in self.steps if step.name == "COPY")
        return [words.split()[0].partition("=")[2] for words in copies if words.startswith("--from=")]


@dataclass
class Dockerfile:
    arguments: dict[str, str]
    """ARGs before the first FROM, with their defaults: the only ones that a FROM may use"""
    stages: list[Stage]

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        read = cls({}, [])
        for line in filter(str.strip, text.replace("\\\n", " ").splitlines()):
            name, _, rest = line.partition(" ")
            rest = " ".join(rest.split()) if name in ("RUN", "ENV", "COPY") else rest.strip()
            if name == "FROM":
                base, _, stage_name = rest.partition(" AS ")
                read.stages.append(Stage(stage_name, base))
            elif read.stages:
                read.stages[-1].steps.append(Step(name, rest))
            else:
                argument, _, default = rest.partition("=")
                read.arguments[argument] = default
        return read

    def needed(self, build_arguments: Mapping[str, str]) -> list[Stage]:
        """The stages that make the last one, in the file's order, with their bases' names filled in.

        Raises:
            ValueError: a base is neither a stage nor the Python image, such as a variant that does not exist.
        """
        values = {**self.arguments, **build_arguments}
        stages = [Stage(stage.name, substituted(stage.base, values), stage.steps) for stage in self.stages]
        by_name = {stage.name: stage for stage in stages if stage.name}
        wanted, todo = [], [stages[-1]]
        while todo:
            stage = todo.pop()
            wanted.append(stage)
            if stage.base not in by_name and stage.base != values["PYTHON_IMAGE"]:
                raise ValueError(f"there is no stage {stage.base}")
            todo += [by_name[name] for name in (stage.base, *stage.copied_stages()) if name in by_name]
        return [stage for stage in stages if stage in wanted]

    def image(self, build_arguments: Mapping[str, str]) -> list[Step]:
        """All steps that make the last stage's image, its bases' first; without stages that are only copied from."""
        needed = {stage.name: stage for stage in self.needed(build_arguments)}
        line = [list(needed.values())[-1]]
        while line[0].base in needed:
            line.insert(0, needed[line[0].base])
        return [step for stage in line for step in stage.steps]


def substituted(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)


def exec_form(arguments: str) -> list[str]:
    """The words of `["program", "argument"]`.

    Raises:
        ValueError: it is the shell's form.
    """
    words = json.loads(arguments)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"not the exec form: {arguments}")
    return words


def without_root(command: str) -> tuple[str, list[str]]:
    """A RUN's commands but for those that need root, and these. They are told apart where `&&` joins them."""
    parts = [part.strip() for part in command.split("&&")]
    skipped = [part for part in parts if part.split()[0] in _NEEDS_ROOT]
    return " && ".join(part for part in parts if part not in skipped), skipped
