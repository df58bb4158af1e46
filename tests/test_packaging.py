from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import fintunnel
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRACKED = subprocess.run(
    ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
).stdout.split("\0")[:-1]


def test_the_base_install_is_small() -> None:
    names = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert names == {"httpcore", "httpx", "pydantic", "pydantic-settings", "rich", "tenacity", "typer"}


def test_every_requirement_has_a_lower_bound_and_no_upper_one() -> None:
    lines = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    for requirement in map(Requirement, lines):
        operators = {part.operator for part in requirement.specifier}
        assert requirement.name == "fintunnel" or operators == {">="}, requirement


def test_the_users_packages_are_all_there() -> None:
    lines = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    names = {Requirement(line).name for line in lines}
    wanted = {"fastapi", "uvicorn", "pyngrok", "transformers", "peft", "bitsandbytes", "httpx", "pydantic"}
    assert wanted <= names


def test_an_environment_that_has_torch_keeps_it() -> None:
    """pip's own resolver, offline, over what is installed: nothing is to be changed."""
    lines = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    wanted = [line for line in lines if not line.startswith("fintunnel")]
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *wanted], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout and "Would install" not in done.stdout


def test_ci_pins_torch() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_all_commands_are_entry_points_that_load() -> None:
    points = {point.name: point for point in entry_points(group="fintunnel.commands")}
    assert set(points) == {"dataset", "doctor", "train", "calibrate", "compare", "export", "serve"}
    assert all(point.load() for point in points.values())


def test_the_exports_exist() -> None:
    assert all(hasattr(fintunnel, name) for name in fintunnel.__all__)


@pytest.mark.skipif(not TRACKED, reason="not a git checkout")
def test_the_repositorys_address_stands_in_one_place() -> None:
    """The notebook is made from pyproject.toml by tools/make_notebook.py, which its own test holds equal."""
    url = PROJECT["urls"]["Repository"]
    holders = [
        name
        for name in TRACKED
        if (ROOT / name).suffix in (".py", ".md", ".toml", ".txt", ".yaml", "") and (ROOT / name).is_file()
        if url in (ROOT / name).read_text(encoding="utf-8")
    ]
    assert holders == ["pyproject.toml"]


@pytest.mark.skipif(not TRACKED, reason="not a git checkout")
def test_no_code_trusts_remote_code_or_unpickles_freely() -> None:
    for name in TRACKED:
        if not name.endswith(".py") or not (ROOT / name).is_file():
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, name
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(keyword.arg == "weights_only" for keyword in node.keywords), name


@pytest.mark.skipif(not TRACKED, reason="not a git checkout")
def test_no_large_files_weights_or_databases_are_tracked() -> None:
    for name in TRACKED:
        path = ROOT / name
        if path.is_file():
            assert path.stat().st_size < 2**20, name
            assert path.suffix not in (".db", ".safetensors", ".bin", ".gguf", ".pt"), name
