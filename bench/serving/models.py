"""The base and the adapter that every peer serves: the demo's short training, or a shape with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fintunnel_training.base import resolve_base
from fintunnel_training.dataset.sources.sample_database import build_sample_database

from bench.random_base import SHAPES, random_base
from run import DEMO_TRAINING

__all__ = ["Served", "merge", "random_shape", "sample_instructions", "trained"]

_RANK = 8


@dataclass(frozen=True)
class Served:
    """`base` as FinTunnel names it, `base_folder` as the others do; `verified`: the adapter has a manifest."""

    base: str
    adapter: Path
    verified: bool

    @property
    def base_folder(self) -> str:
        return resolve_base(self.base).path


def sample_instructions(folder: Path) -> Path:
    """300 instruction rows of the sample database."""
    data = folder / "instructions.jsonl"
    build_sample_database(folder / "sample.db")
    _fintunnel("dataset", "build", "--db", str(folder / "sample.db"), "--out", str(data), "--num-samples", "300")
    return data


def trained(folder: Path) -> Served:
    """A short adapter of the embedded base, as `python run.py demo` trains it."""
    data, adapter = sample_instructions(folder), folder / "adapter"
    _fintunnel("train", "--data", str(data), "--base", "embedded", "--out", str(adapter), *DEMO_TRAINING)
    return Served("embedded", adapter, verified=True)


def merge(served: Served, folder: Path) -> Path:
    """Base and adapter as one 16-bit model, for a server that takes no adapter."""
    merged = folder / "merged"
    if not merged.exists():
        _fintunnel("export", "--adapter", str(served.adapter), "--base", served.base, "--merged", str(merged))
    return merged


def random_shape(shape: str, base: Path, folder: Path) -> Served:
    """A base of a shape with random weights, and a random adapter on all its linear layers."""
    random_base(shape, base)
    _write_random_adapter(folder / "adapter", base, SHAPES[shape])
    return Served(str(base), folder / "adapter", verified=False)


def _write_random_adapter(folder: Path, base: Path, shape: dict[str, int]) -> None:
    """In peft's format, without loading the base."""
    import torch
    from safetensors.torch import save_file

    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    values = hidden * shape["num_key_value_heads"] // shape["num_attention_heads"]
    layers = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, values),
        "self_attn.v_proj": (hidden, values),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for number in range(shape["num_hidden_layers"]):
        for layer, (taken, given) in layers.items():
            name = f"base_model.model.model.layers.{number}.{layer}"
            weights[f"{name}.lora_A.weight"] = torch.randn(_RANK, taken, generator=generator) * 0.02
            weights[f"{name}.lora_B.weight"] = torch.randn(given, _RANK, generator=generator) * 0.02
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": _RANK,
        "lora_alpha": 2 * _RANK,
        "target_modules": sorted(layer.partition(".")[2] for layer in layers),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _fintunnel(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "fintunnel", *arguments], capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise SystemExit(f"fintunnel {arguments[0]} failed: {done.stderr[-2000:]}")
