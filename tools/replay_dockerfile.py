"""Carries out the Dockerfile's steps without a Docker engine, then starts what the image would start.

    python -m tools.replay_dockerfile --variant cpu --build-arg TORCH_INDEX_URL=

A clean virtual environment of this Python stands for the Python image, a scratch folder for the image's files:
absolute paths in COPY, RUN, ENV and WORKDIR lead into it. What needs root is listed, not replayed. After the build
the image's own command is tried (`tools.image_trial`). The exit status is 0 if all of that worked. Not on Windows.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.dockerfile import Dockerfile, Stage, exec_form, substituted, without_root
from tools.image_trial import Trial, try_image

__all__ = ["Image", "build", "main"]

ROOT = Path(__file__).resolve().parents[1]
# What of the caller's environment a build gets: the way to the package index.
_NETWORK = re.compile(r"PIP_\w+|SSL_CERT_\w+|(?i:https?|all|no)_proxy|HOME|LANG")


@dataclass
class Image:
    """What the steps have made so far."""

    folder: Path
    """stands for `/`"""
    python: Path
    """the virtual environment that stands for the Python image"""
    environment: dict[str, str] = field(default_factory=dict)
    """of ENV, with paths as they are in the image"""
    workdir: str = "/"
    settings: dict[str, str] = field(default_factory=dict)
    """the last arguments of ENTRYPOINT, CMD, HEALTHCHECK and STOPSIGNAL"""

    def inside(self, text: str) -> str:
        """The text with absolute paths led into the folder."""
        return re.sub(r"""(?:(?<=[\s="'])|\A)/(?=\w)""", f"{self.folder}/", text)

    def path(self, name: str) -> Path:
        return self.folder / (name if name.startswith("/") else f"{self.workdir}/{name}").lstrip("/")

    def variables(self, outside: Mapping[str, str]) -> dict[str, str]:
        """For a process in it: `outside`, the image's own, and the virtual environment's programs before others."""
        own = {name: self.inside(value) for name, value in self.environment.items()}
        return {**outside, **own, "PATH": f"{self.python / 'bin'}:/usr/local/bin:/usr/bin:/bin"}

    def trial(self) -> Trial:
        entry, command, check = (
            exec_form(self.settings.get(name, "[]").rpartition("CMD ")[2])
            for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
        )
        home = self.path("/home/fintunnel")
        return Trial(
            command=[*entry, *command],
            health_check=check,
            stop_signal=self.settings["STOPSIGNAL"],
            environment=self.variables({"HOME": str(home)}),
            folder=home,
        )


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Replay the Dockerfile without a Docker engine.")
    parser.add_argument("--variant", default="cpu", help="cpu, cuda or gateway")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--resolve", action="append", default=[], metavar="HOST:PORT=HOST:PORT",
        help="where a service that the CMD names is found here",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="work in this folder and keep it; default: a temporary one")
    arguments = parser.parse_args(words)
    build_arguments = {"VARIANT": arguments.variant} | _pairs(arguments.build_arg)
    with tempfile.TemporaryDirectory(prefix="replayed-image-") as temporary:
        began = time.monotonic()
        image = build(Dockerfile.read(ROOT / "Dockerfile"), build_arguments, arguments.folder or Path(temporary))
        say(f"{time.monotonic() - began:6.1f} s  built: {_mebibytes(image.python)} MiB of packages")
        return 0 if try_image(image.trial(), _pairs(arguments.resolve), say) else 1


def _pairs(given: list[str]) -> dict[str, str]:
    return dict(each.partition("=")[::2] for each in given)


def _mebibytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) >> 20


def build(dockerfile: Dockerfile, build_arguments: Mapping[str, str], folder: Path) -> Image:
    """The image of the last stage. A stage goes on with its base's own folder: no two that are needed share a base."""
    images: dict[str, Image] = {}
    stages = dockerfile.needed(build_arguments)
    for number, stage in enumerate(stages):
        say(f"FROM {stage.base}" + (f" AS {stage.name}" if stage.name else ""))
        image = images.get(stage.base) or _python_image(folder / f"stage-{number}")
        images[stage.name] = image
        _replay(stage, image, images, {**dockerfile.arguments, **build_arguments}, build_arguments)
    return image


def _python_image(folder: Path) -> Image:
    image = Image(folder / "root", folder / "python")
    began = time.monotonic()
    venv.create(image.python, with_pip=True)
    image.path("/tmp").mkdir(parents=True)
    _step(began, f"a clean virtual environment of Python {sys.version.split()[0]} in the image's place")
    return image


def _replay(
    stage: Stage, image: Image, images: Mapping[str, Image], outer: Mapping[str, str], given: Mapping[str, str]
) -> None:
    arguments: dict[str, str] = {}
    for step in stage.steps:
        began, shown = time.monotonic(), f"{step.name} {step.arguments}"
        match step.name:
            case "ARG":
                name, _, default = step.arguments.partition("=")
                arguments[name] = given.get(name, outer.get(name, default))
                shown = f"ARG {name}={arguments[name]}"
            case "ENV":
                image.environment |= dict(re.findall(r"(\w+)=(\S+)", substituted(step.arguments, arguments)))
            case "WORKDIR":
                image.workdir = step.arguments
                image.path(".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(step.arguments.split(), image, images)
            case "RUN":
                command, skipped = without_root(step.arguments)
                shown = f"RUN {command}"
                for part in skipped:
                    say(f"    not replayed, needs root: {part}")
                if command:
                    _run(command, image, arguments)
            case "ENTRYPOINT" | "CMD" | "HEALTHCHECK" | "STOPSIGNAL":
                image.settings[step.name] = step.arguments
            case "USER" | "VOLUME" | "EXPOSE":
                say(f"    not replayed, says something to an engine: {shown}")
                continue
            case _:
                raise SystemExit(f"the replay does not know {step.name}")
        _step(began, shown)


def _copy(words: list[str], image: Image, images: Mapping[str, Image]) -> None:
    """Files, or what folders hold, from the repository or another stage."""
    root = images[words.pop(0).partition("=")[2]].folder if words[0].startswith("--from=") else ROOT
    *sources, target = words
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")  # as .dockerignore does
    for name in sources:
        source, there = root / name.lstrip("/"), image.path(target)
        if source.is_dir():
            shutil.copytree(source, there, dirs_exist_ok=True, ignore=ignore)
        else:
            there.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, there)


def _run(command: str, image: Image, arguments: Mapping[str, str]) -> None:
    outside = {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}
    done = subprocess.run(
        ["sh", "-ec", image.inside(command)],
        cwd=image.path("."),
        env={**image.variables(outside), **arguments},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"RUN {command}\nended with status {done.returncode}:\n{done.stdout[-3000:]}")


def _step(began: float, text: str) -> None:
    say(f"{time.monotonic() - began:6.1f} s  {text if len(text) <= 160 else text[:159] + '…'}")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    raise SystemExit(main())
