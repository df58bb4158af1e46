"""A finished adapter folder without a model, for tests of what is done with one."""

from __future__ import annotations

from pathlib import Path

from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import Edges
from fintunnel_training.adapter import BaseInfo, Manifest, read_adapter, write_manifest
from fintunnel_training.export.cli import export
from fintunnel_training.qlora.evidence import TrainingInfo

BASE = BaseInfo(
    source="hub",
    id="some/base",
    revision=None,
    config_sha256="c",
    tokenizer_sha256="t",
    chat_template_sha256="m",
    weights_sha256="w",
)


def bare_adapter(folder: Path, base: BaseInfo = BASE, edges: Edges | None = None) -> Path:
    """A folder that reads as an adapter's; nobody looks into its files."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    list_files(folder, base, edges)
    return folder


def trained_adapter(folder: Path, base: BaseInfo = BASE, identity: dict[str, str] | None = None) -> Path:
    """The same with the evidence that training leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loss_curve.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8))
    options = {
        "preset": "t4",
        "epochs": 3.0,
        "max_steps": None,
        "batch_size": 4,
        "max_length": 512,
        "learning_rate": 2e-4,
    }
    info = TrainingInfo(
        base="SmolLM2-135M-Instruct",
        device="cpu",
        quantization="nf4",
        precision="bfloat16",
        options=options,
        target_modules=["q_proj"],
        samples=1,
        samples_shortened=0,
        samples_dropped=0,
        tokens_per_epoch=1,
        trainable_parameters=1,
        total_parameters=2,
        steps=1,
        epochs_done=3.0,
        seconds=1.0,
        first_loss=2.0,
        last_loss=1.0,
        last_eval_loss=None,
        best=None,
        batch_size_at_end=4,
        accumulation_at_end=1,
        events=[],
        trainable_dtypes=["float32"],
        estimated_gib={},
        peak_memory_gib=1.0,
        versions={},
        identity=identity or {},
    )
    (folder / "training_info.json").write_text(info.model_dump_json(), encoding="utf-8")
    return bare_adapter(folder, base)


def list_files(folder: Path, base: BaseInfo = BASE, edges: Edges | None = None) -> None:
    write_manifest(
        folder,
        base=base,
        quantization="nf4",
        target_modules=["q_proj"],
        prompt_version=PROMPT_VERSION,
        edges=edges,
        splits={},
        data_sha256="d",
        versions={},
    )


def finished_adapter(folder: Path) -> Path:
    """Real tensors and a manifest, and beside the files what must not travel."""
    import torch
    from safetensors.torch import save_file

    (folder / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-4" / "optimizer.pt").write_bytes(b"large")
    weights = {
        "q.lora_A.weight": torch.randn(8, 16).to(torch.bfloat16),
        "q.lora_B.weight": torch.randn(16, 8).to(torch.bfloat16),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"r": 8}', encoding="utf-8")
    (folder / "loss_curve.png").write_bytes(b"\x89PNG" + bytes(200))
    list_files(folder)
    (folder / ".manifest.json.7.partial").write_text("half", encoding="utf-8")
    (folder / "adapter_model.bin.7.partial").write_text("half", encoding="utf-8")
    return folder


def manifest_of(adapter: Path) -> Manifest:
    manifest = read_adapter(adapter)
    assert manifest is not None
    return manifest


def run(*arguments: object) -> None:
    export(args=[str(argument) for argument in arguments], prog_name="fintunnel export", standalone_mode=False)
