"""The workflows, as far as they can be checked without GitHub: what they name exists, what they say in bash works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import fintunnel
import pytest
import yaml

from tests.built_package import copy_of_tracked_files

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
TRIGGERS = {
    "checks": {"push", "pull_request"},
    "thorough": {"schedule", "workflow_dispatch"},
    "package": {"push"},
}
IN_BOTH = "examples in both PowerShells"


def load(name: str) -> dict[Any, Any]:
    loaded = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return load("checks")


def steps_of(workflow: dict[Any, Any], job: str) -> list[dict[str, Any]]:
    return list(workflow["jobs"][job]["steps"])


def scripts(workflow: dict[Any, Any], job: str) -> list[str]:
    return [step["run"] for step in steps_of(workflow, job) if "run" in step]


def test_these_are_all() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.yml" for name in TRIGGERS}


@pytest.mark.parametrize("name", TRIGGERS)
def test_it_may_only_read_and_knows_no_secrets(name: str) -> None:
    workflow = load(name)
    assert workflow["name"] == name and workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    assert "secrets." not in (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    assert set(workflow[True]) == TRIGGERS[name]  # YAML reads the word `on` as true


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_job_takes_the_code_and_python_and_has_an_end(name: str) -> None:
    for job in load(name)["jobs"].values():
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [action.split("@")[0] for action in used][:2] == ["actions/checkout", "actions/setup-python"]
        assert all(re.fullmatch(r"\S+@v\d+", action) for action in used)
        python = next(step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python"))
        # A string: the number 3.10 would be 3.1.
        assert python == {"python-version": "3.11", "cache": "pip", "cache-dependency-path": "constraints.txt"}
        assert job["timeout-minutes"] > 0


def test_the_jobs_of_every_push(workflow: dict[Any, Any]) -> None:
    assert set(workflow["jobs"]) == {"linux", "windows"}
    assert workflow["jobs"]["windows"]["runs-on"] == "windows-latest"


def test_once_a_week_everything_runs() -> None:
    (job,) = load("thorough")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["./.ci/run --all"]
    assert "env" not in job  # what has to be there, .ci/run says


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("tag", [f"v{fintunnel.__version__}", "v99.0.0"])
def test_a_tag_that_is_the_version_builds_both_packages(tmp_path: Path, tag: str) -> None:
    workflow = load("package")
    assert workflow[True]["push"] == {"tags": ["v*"]}
    commands = scripts(workflow, "build")
    assert commands[0] == "python -m pip install -c constraints.txt hatchling"  # the tests have it
    assert steps_of(workflow, "build")[-1]["with"]["path"] == "dist/"
    tree = copy_of_tracked_files(tmp_path / "tree")
    environment = {**os.environ, "GITHUB_REF_NAME": tag}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(commands[1:])],
        env=environment, cwd=tree, capture_output=True, encoding="utf-8", check=False, timeout=60,
    )  # fmt: skip
    right = tag == f"v{fintunnel.__version__}"
    assert (done.returncode == 0) == right, done.stderr
    assert len(list(tree.glob("dist/*"))) == (2 if right else 0)


def test_linux_runs_what_a_person_runs(workflow: dict[Any, Any]) -> None:
    assert scripts(workflow, "linux") == ["./.ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK) or os.name == "nt"


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="needs bash, and programs without .exe")
@pytest.mark.parametrize("user", ["root", "with sudo", "without"])
@pytest.mark.parametrize("there", [[], ["google-chrome"], ["chromium", "haproxy"]])
def test_what_is_missing_is_installed_by_whoever_may_and_required(tmp_path: Path, user: str, there: list[str]) -> None:
    """.ci/run with stand-ins for the programs of a machine, each of which writes down how it was called."""
    for program in ("bash", "dirname", "env", "true"):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    called = tmp_path / "called"
    programs = {name: "" for name in there} | {
        "id": f"echo {0 if user == 'root' else 1001}",
        "apt-get": f'echo "apt-get $*, by ${{SUDO:-itself}}" >>{called}',
        "python3": f'echo "$* $FINTUNNEL_REQUIRE_BROWSER $FINTUNNEL_REQUIRE_HAPROXY" >>{called}',
    }
    if user == "with sudo":  # as on GitHub's runners
        programs["sudo"] = '[ "$1" = -n ] && shift && SUDO=sudo exec "$@"'
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!{tmp_path / 'bash'}\n{code}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci" / "run", "--all"], env={"PATH": str(tmp_path)}, capture_output=True, encoding="utf-8", timeout=30
    )
    assert done.returncode == 0, done.stderr
    *installed, ran = called.read_text(encoding="utf-8").splitlines()
    assert ran == "run.py test --all 1 1"
    browser = [] if there else ["chromium", "fonts-wqy-microhei"]
    missing = [*browser, *([] if "haproxy" in there else ["haproxy"])]
    if user == "without" or not missing:
        assert not installed
        return
    by = "itself" if user == "root" else "sudo"
    assert installed == [
        f"apt-get -qq update, by {by}",
        f"apt-get -qq install -y --no-install-recommends {' '.join(missing)}, by {by}",
    ]


def test_windows_runs_the_examples_in_both_powershells_and_the_clients_tests(workflow: dict[Any, Any]) -> None:
    (examples,) = (step for step in steps_of(workflow, "windows") if step.get("name") == IN_BOTH)
    assert examples["shell"] == "bash"  # GitHub's runs with -e and pipefail: a status that is not 0 ends the step
    lines = examples["run"].splitlines()
    assert [line.split()[0] for line in lines if line.endswith("-File examples/powershell.ps1")] == [
        "powershell",
        "pwsh",
    ]
    assert lines.index("coproc app { python -m tests.serve_instant; }") == 0
    installs = [line for run in scripts(workflow, "windows") for line in run.splitlines() if "pip install" in line]
    assert installs[:2] == [
        "python -m pip install -c constraints.txt .",
        'python -m pip install -c constraints.txt ".[gateway]" pytest',
    ]
    assert scripts(workflow, "windows")[-1].splitlines()[-1] == "python -m pytest tests/client"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for line in installs for group in re.findall(r"\.\[([\w,]+)\]", line) for extra in group.split(",")}
    assert named == {"gateway", "dataset", "mcp", "http2"} and named <= set(extras)


def test_files_and_modules_that_it_names_exist(workflow: dict[Any, Any]) -> None:
    text = "\n".join(run for job in workflow["jobs"] for run in scripts(workflow, job))
    paths = re.findall(r"(?<![\w/])(?:\./)?((?:\.ci|tests|examples)/[\w./]+)", text)
    assert {"tests/client", "examples/powershell.ps1", ".ci/run"} <= set(paths)
    assert all((ROOT / path).exists() for path in paths)
    modules = re.findall(r"python -m (tests[\w.]+)", text)
    assert modules == ["tests.serve_instant"]
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)


def test_a_powershell_step_ends_at_the_first_failure(workflow: dict[Any, Any]) -> None:
    """On Windows a step is PowerShell, which goes on after a program that failed: its last one decides."""
    for step in steps_of(workflow, "windows"):
        lines = step.get("run", "").splitlines()
        if step.get("shell") == "bash":
            continue
        for line, following in zip(lines, lines[1:], strict=False):
            if line.startswith("python "):
                assert following == "if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }"


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="needs bash, and programs without .exe")
@pytest.mark.parametrize("failing", [None, "powershell", "pwsh"])
def test_the_bash_step_serves_the_app_to_both(workflow: dict[Any, Any], tmp_path: Path, failing: str | None) -> None:
    """With stand-ins for the two PowerShells, which ask the app that they are told of."""
    (step,) = (step for step in steps_of(workflow, "windows") if step.get("name") == IN_BOTH)
    ask = (
        "import os, sys, urllib.request as u; url = os.environ['FINTUNNEL_URL'];"
        "key = {'Authorization': 'Bearer ' + os.environ['FINTUNNEL_API_KEY']};"
        "u.build_opener(u.ProxyHandler({})).open(u.Request(url + '/v1/models', headers=key), timeout=10)"
    )
    programs = {"python": f'exec "{sys.executable}" "$@"'}
    for name in ("powershell", "pwsh"):
        programs[name] = f'"{sys.executable}" -c "{ask}" && echo {name} && exit {int(name == failing)}'
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={**os.environ, **step["env"], "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    reached = ["powershell"] if failing == "powershell" else ["powershell", "pwsh"]
    assert done.stdout.split() == reached, done.stderr
    assert (done.returncode == 0) == (failing is None)
