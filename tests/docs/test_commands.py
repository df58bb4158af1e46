"""Every command of the documents, run as it stands. README.md comes first: its commands make the dataset and the
adapter that the others use. A line `<!-- not run: why -->` above a block says that no test runs it.

Two things are changed in what is run: addresses on this machine lead to the test's server, and what would compute for
long is told to be short (`_SHORTER`).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fintunnel.local_server import LocalServer
from fintunnel_training.dataset.sources.sample_database import build_sample_database

from tests.docs.markdown_page import ROOT, Block, documents, read_page

_SHORTER = {
    "fintunnel dataset build": "--num-samples 40",
    "fintunnel train": "--max-steps 2 --batch-size 1 --max-length 512 --eval-rows 0 --no-calibrate",
    "fintunnel compare": "--rows 4 --texts 1 --resamples 1000 --seeds 1",
    "fintunnel export": "--rows 4",
}
_PROGRAM = r"(\$ )?(fintunnel|python3?|pip|curl|docker|vllm|bash|git|export) "
_STARTS = "fintunnel serve "
_SERVE = "fintunnel serve --adapter models/analyst"
"""the one that answers the other commands"""
_SECONDS = 240

_ALL = [block for path in documents() for block in read_page(path).blocks]
_COMMANDS = [block for block in _ALL if block.is_command]
_RUN = list({block.text: block for block in reversed(_COMMANDS) if block.not_run is None}.values())[::-1]
"""what stands in two documents is run once"""


class Reader:
    """Somebody with the repository's database and examples in a folder, who types what the documents say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: LocalServer | None = None
        programs = folder / "programs"
        programs.mkdir()
        for name, command in (("fintunnel", "-P -m fintunnel"), ("python", "")):
            script = programs / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n', encoding="utf-8")
            script.chmod(0o755)
        self._path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def run(self, block: Block) -> str:
        text = block.text
        if (answers := self.folder / "comparison" / "answers.sqlite").is_file():
            (self.folder / "colab").mkdir(exist_ok=True)
            shutil.copy(answers, self.folder / "colab")  # as if another machine had asked
        if text.startswith(_STARTS):
            return "".join(self._serve(line) for line in text.splitlines())
        variables = {**os.environ, "PATH": self._path, "FINTUNNEL_BACKEND": "finetuned", "PYTHONUTF8": "1"}
        if re.search(r"127\.0\.0\.1|FINTUNNEL_URL|from fintunnel|fintunnel (check|analyze|chat|mcp)|openai", text):
            variables |= {"FINTUNNEL_URL": self.server.url, "FINTUNNEL_API_KEY": "the-server-has-none"}
            text = text.replace("http://127.0.0.1:8000", self.server.url)
        process = subprocess.Popen(
            _interpreter(block.language, text),
            cwd=self.folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # the commands that the shell runs, and servers that they started
            output, _ = process.communicate()
            pytest.fail(f"{block} did not end in {_SECONDS} seconds:\n{text}\n{output[-3000:]}")
        assert process.returncode == 0, f"{block} ended with {process.returncode}:\n{text}\n{output[-3000:]}"
        assert "Traceback" not in output
        return output

    @property
    def server(self) -> LocalServer:
        if self._server is None:
            self._server = self._start(_SERVE)
        return self._server

    def _serve(self, line: str) -> str:
        """A server is run until its model answers, and ended."""
        if line == _SERVE:
            return self.server.tail()
        with self._start(line.replace("http://127.0.0.1:8001", self.server.url)) as server:
            return server.tail()

    def _start(self, line: str) -> LocalServer:
        arguments = shlex.split(line)[2:]
        adapters = [
            word.split("=")[-1] for flag, word in zip(arguments, arguments[1:], strict=False) if "adapter" in flag
        ]
        for name in filter(lambda name: name.startswith("models/"), adapters):
            made = self.folder / "models" / "analyst"
            assert made.is_dir(), "README.md's blocks, which train it, have to be run first"
            if not (self.folder / name).is_dir():
                shutil.copytree(made, self.folder / name)
        there = os.getcwd()
        os.chdir(self.folder)  # the command's relative paths are meant from there
        try:
            server = LocalServer(arguments, log=self.folder / "server.log", environment={"FINTUNNEL_API_KEY": ""})
        finally:
            os.chdir(there)
        return server.wait_until_ready(_SECONDS)

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()


def _interpreter(language: str, text: str) -> list[str]:
    if language == "python":
        return [sys.executable, "-P", "-c", text]
    if language == "powershell":
        return ["pwsh", "-NoProfile", "-Command", f"$ErrorActionPreference = 'Stop'\n{text}"]
    return ["bash", "-euo", "pipefail", "-c", "\n".join(map(_shorter, text.splitlines()))]


def _shorter(line: str) -> str:
    options = next((options for command, options in _SHORTER.items() if line.startswith(command)), "")
    return f"{line} {options}" if "--dry-run" not in line and "--cases" not in line and "--zip" not in line else line


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", folder / "examples")
    build_sample_database(folder / "finance_analysis.db")
    reader = Reader(folder)
    yield reader
    reader.close()


@pytest.mark.e2e
@pytest.mark.skipif(os.name == "nt", reason="the blocks are run by bash")
@pytest.mark.parametrize("block", _RUN, ids=str)
def test_command_of_the_documents_works(reader: Reader, block: Block) -> None:
    if block.language == "powershell" and shutil.which("pwsh") is None:
        pytest.skip("no PowerShell (pwsh) here")
    reader.run(block)


def test_every_command_is_run_or_says_why_not() -> None:
    """Counted: `pytest -s` shows it."""
    unlabelled = [str(block) for block in _ALL if not block.language]
    assert unlabelled == [], "say which language: bash, powershell and python are run, text and json are not"
    hidden = [str(block) for block in _ALL if block.language == "text" and re.match(_PROGRAM, block.text)]
    assert hidden == [], "a command is no text"
    left = [block for block in _COMMANDS if block.not_run is not None]
    of_powershell = [block for block in _RUN if block.language == "powershell"]
    here = "run too" if shutil.which("pwsh") else "skipped, as no pwsh is here"
    sys.stdout.write(
        f"\n{len(_COMMANDS)} command blocks in {len(documents())} documents: "
        f"{len(_RUN) - len(of_powershell)} different ones of bash and python run, {len(of_powershell)} of PowerShell "
        f"{here}, {len(_COMMANDS) - len(_RUN) - len(left)} the same as those, {len(left)} not run:\n"
        + "".join(f"  {block}: {block.not_run}\n" for block in left)
    )
    assert len(_RUN) > 20
    for block in left:
        assert len(str(block.not_run)) > 20
        named = re.findall(r"tests/[\w/]+\.py", str(block.not_run))
        assert [name for name in named if not (ROOT / name).is_file()] == []


def test_nothing_is_marked_as_not_run_that_is_no_command() -> None:
    assert [str(block) for block in _ALL if block.not_run is not None and not block.is_command] == []
