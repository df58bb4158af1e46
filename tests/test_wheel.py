"""The package as others install it: a wheel made from the sdist, in a clean environment for each extra, where something
real is then done. Needs a package registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from run import EMBEDDED_BASE
from tests.built_package import ROOT, build, copy_of_tracked_files
from tests.client.good_answers import good_body
from tests.client.http2_server import http2_server
from tests.live_app import LiveApp
from tests.server.upstream_stand_in import Upstream, upstream_server

pytestmark = pytest.mark.thorough

HEADLINE = "美联储宣布加息25个基点"
INSTALL_SECONDS = 900
# Commands that need an extra, and the extra that is to be named.
WITHOUT_EXTRAS = {
    ("serve",): "server",
    ("train", "--data", "rows.jsonl", "--out", "tuned"): "training",
    ("calibrate", "--adapter", "tuned", "--data", "rows.jsonl"): "training",
    ("compare", "--data", "rows.jsonl", "--out", "report"): "dataset",
    ("dataset", "build", "--db", "sample.db", "--out", "rows.jsonl"): "dataset",
    ("mcp",): "mcp",
}
# The package's own helper, run from the clean environment: serves, asks by the command line, prints the answer.
SERVE_AND_ASK = """
import os, subprocess, sys
from pathlib import Path
from fintunnel.local_server import LocalServer

with LocalServer(sys.argv[2:], log=Path("server.log")) as server:
    server.wait_until_ready(300)
    os.environ.update(FINTUNNEL_BACKEND="finetuned", FINTUNNEL_URL=server.url)
    asked = subprocess.run([sys.executable, "-m", "fintunnel", "analyze", sys.argv[1], "--json", "--no-explain"])
sys.exit(asked.returncode)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment and a folder that its programs run in."""

    python: Path
    folder: Path

    def run(
        self, *arguments: str, seconds: float = 120, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python), *arguments], cwd=self.folder, env={**kept, "PYTHONUTF8": "1", **(variables or {})},
            capture_output=True, encoding="utf-8", check=False, timeout=seconds,
        )  # fmt: skip

    def fintunnel(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "fintunnel", *arguments, variables=variables)

    def done(self, *arguments: str, seconds: float = 120) -> str:
        """What `fintunnel` printed, once it has succeeded."""
        ran = self.run("-m", "fintunnel", *arguments, seconds=seconds)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout

    def install(self, *what: str) -> None:
        pip = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"))
        installed = self.run(*pip, *what, seconds=INSTALL_SECONDS)
        assert installed.returncode == 0, installed.stderr[-2000:]

    def has(self, module: str) -> bool:
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        return self.run("-c", code).returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the sdist, by pip, which makes the build's own environment as PEP 517 has it."""
    folder = tmp_path_factory.mktemp("package")
    sdist = build(copy_of_tracked_files(folder / "tree"), "sdist", folder / "sdist")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", str(folder)]
    made = subprocess.run([*pip, str(sdist)], capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert made.returncode == 0, made.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Iterator[Callable[..., Environment]]:
    """Makes the environment that holds the wheel with some extras and, where pip says so, nothing that does not fit."""
    made = tmp_path / "environment"

    def install(*extras: str, also: Sequence[str] = ()) -> Environment:
        subprocess.run([sys.executable, "-m", "venv", str(made)], check=True, timeout=120)
        environment = Environment(made / ("Scripts/python.exe" if os.name == "nt" else "bin/python"), tmp_path)
        environment.install(f"{wheel}[{','.join(extras)}]" if extras else str(wheel))
        checked = environment.run("-m", "pip", "check")
        assert checked.returncode == 0, checked.stdout
        for requirement in also:
            environment.install("--no-deps", requirement)
        return environment

    yield install
    shutil.rmtree(made, ignore_errors=True)  # up to 2 GB, and pytest keeps three runs


def serve_and_ask(environment: Environment, *arguments: str) -> dict[str, object]:
    asked = environment.run("-c", SERVE_AND_ASK, HEADLINE, *arguments, seconds=400)
    assert asked.returncode == 0, asked.stderr[-2000:]
    answer = json.loads(asked.stdout)
    assert isinstance(answer, dict)
    return answer


def test_base(installed: Callable[..., Environment], live_app: LiveApp) -> None:
    environment = installed()
    assert "analyze" in environment.done("--help")
    assert environment.run("-c", "import fintunnel; fintunnel.DeepSeekClient(api_key='k')").returncode == 0
    assert not any(environment.has(module) for module in ("torch", "fastapi", "numpy", "h2", "mcp"))
    for command, extra in WITHOUT_EXTRAS.items():
        missing = environment.fintunnel(*command)
        assert missing.returncode == 2 and f'"fintunnel[{extra}]"' in missing.stderr, (command, missing.stderr)
        assert len(missing.stderr.strip().splitlines()) == 1, missing.stderr
    doctor = environment.fintunnel("doctor")
    assert doctor.returncode == 1 and "torch" in doctor.stdout and "Traceback" not in doctor.stderr
    listed = environment.run("-m", "pip", "list", "--format", "freeze").stdout.splitlines()
    packages = [line for line in listed if line.partition("==")[0] not in ("pip", "setuptools")]
    assert f"{len(packages)} packages" in (ROOT / "docs" / "client.md").read_text(encoding="utf-8"), packages
    told = {"FINTUNNEL_URL": live_app.url, "FINTUNNEL_API_KEY": "right-key"}
    asked = environment.fintunnel("analyze", HEADLINE, "--json", FINTUNNEL_BACKEND="finetuned", **told)
    assert json.loads(asked.stdout)["task"] == "news", asked.stderr


def test_http2(installed: Callable[..., Environment], tmp_path: Path) -> None:
    code = (
        "import sys; from fintunnel import DeepSeekClient\n"
        "with DeepSeekClient(backend='finetuned', url=sys.argv[1], http2=True) as client: client.analyze('加息')"
    )
    with http2_server(good_body("finetuned")) as server:
        server.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        asked = installed("http2").run("-c", code, server.url, variables={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
        assert asked.returncode == 0, asked.stderr
        assert server.paths == ["/analyze"]


def test_mcp(installed: Callable[..., Environment], live_app: LiveApp) -> None:
    code = """
import asyncio, os, sys
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

async def ask():
    command = StdioServerParameters(command=sys.executable, args=["-m", "fintunnel", "mcp"], env=dict(os.environ))
    async with Client(stdio_client(command)) as client:
        print((await client.call_tool("analyze_news", {"text": sys.argv[1]})).is_error)

asyncio.run(ask())
"""
    told = {"FINTUNNEL_BACKEND": "finetuned", "FINTUNNEL_URL": live_app.url, "FINTUNNEL_API_KEY": "right-key"}
    asked = installed("mcp").run("-c", code, HEADLINE, variables=told)
    assert asked.stdout.strip() == "False", asked.stdout + asked.stderr


def test_gateway(installed: Callable[..., Environment]) -> None:
    environment = installed("gateway")
    assert not environment.has("torch")
    with upstream_server(Upstream()) as upstream:
        url = upstream.url
        answer = serve_and_ask(environment, "--upstream", url, "--upstream-model", "tuned")
        assert answer["impact"] == "high" and upstream.bodies
    gone = environment.fintunnel("serve", "--upstream", url, "--upstream-model", "tuned")
    assert gone.returncode == 1 and "Traceback" not in gone.stderr


def test_dataset(installed: Callable[..., Environment]) -> None:
    environment = installed("dataset")
    assert not environment.has("torch")
    environment.done("dataset", "sample", "--out", "sample.db")
    environment.done("dataset", "build", "--db", "sample.db", "--out", "rows.jsonl", "--num-samples", "40")
    environment.done("dataset", "check", "rows.jsonl")
    environment.done("dataset", "stats", "rows.jsonl")
    assert len((environment.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()) == 40


def test_server(installed: Callable[..., Environment]) -> None:
    environment = installed("server", also=[EMBEDDED_BASE])
    assert not environment.has("trl") and not environment.has("polars")
    answer = serve_and_ask(environment, "--base", "embedded")
    probabilities = answer["impact_probs"]
    assert isinstance(probabilities, dict) and sum(probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("extra", ["training", "all"])
def test_training(installed: Callable[..., Environment], extra: str) -> None:
    environment = installed(extra, also=[EMBEDDED_BASE])
    assert "torch" in environment.fintunnel("doctor").stdout  # its status says what this machine lacks
    environment.done("dataset", "sample", "--out", "sample.db")
    environment.done("dataset", "build", "--db", "sample.db", "--out", "rows.jsonl", "--num-samples", "40")
    train = ("train", "--data", "rows.jsonl", "--base", "embedded", "--out", "tuned")
    environment.done(*train, "--dry-run")
    assert not (environment.folder / "tuned").exists()
    steps = ("--max-steps", "2", "--batch-size", "1", "--max-length", "384", "--eval-rows", "0", "--no-calibrate")
    environment.done(*train, *steps, seconds=300)
    for command in ("calibrate", "compare", "export", "serve"):
        environment.done(command, "--help")
    environment.done("export", "--adapter", "tuned", "--zip")
