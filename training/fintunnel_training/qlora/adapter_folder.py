"""Puts a finished adapter on disk: weights, tokenizer, evidence and manifest, complete or not at all."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fintunnel.prompt import PROMPT_VERSION

from fintunnel_training.adapter import MANIFEST, read_adapter, write_manifest
from fintunnel_training.base import LoadedBase
from fintunnel_training.errors import TrainingError
from fintunnel_training.instructions import InstructionFile
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.evidence import TrainingInfo, peak_memory_gib, plot_loss, write_training_info

__all__ = ["put_in_place", "working_folder", "write_adapter_folder"]


def _is_adapter(folder: Path) -> bool:
    """Many a folder has a manifest.json; only an adapter has this beside it."""
    return (folder / MANIFEST).is_file() and (folder / "adapter_config.json").is_file()


@contextmanager
def working_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` to work in; it becomes `out` only by `put_in_place`.

    If training fails before a checkpoint, nothing stays behind; after one, the folder stays and is named.

    Raises:
        TrainingError: `out` holds something that is no adapter, or its place cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise TrainingError(f"--out {out} 是一个文件，请换一个目录")
    if out.is_dir() and any(out.iterdir()) and not _is_adapter(out):
        raise TrainingError(f"--out {out} 不是空目录，也不是适配器目录。为免覆盖里面的文件，请换一个目录。")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-training-", dir=out.parent))
    except OSError as error:
        raise TrainingError(f"无法写入 {out.parent}：{error.strerror}") from error
    try:
        yield folder
    except BaseException:
        if any(folder.glob("checkpoints/checkpoint-*")):
            sys.stderr.write(f"已完成的检查点留在 {folder / 'checkpoints'}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def write_adapter_folder(
    folder: Path,
    trainer: Any,
    *,
    base: LoadedBase,
    data: InstructionFile,
    encoded: EncodedRows,
    options: dict[str, Any],
    seconds: float,
) -> None:
    """Write everything that belongs to an adapter and verify it as the server will.

    `options`: the hyperparameters as a person would name them; `seconds`: the training's duration.
    """
    import torch

    model = trainer.model
    lora = model.peft_config["default"]
    lora.base_model_name_or_path = base.info.id  # not the path of this machine's cache
    dtype = getattr(torch, base.precision.dtype)
    weights = {name: p.detach().to("cpu", dtype) for name, p in model.named_parameters() if p.requires_grad}
    # 16 bits: half the size, and what the base computes in when it is served.
    model.save_pretrained(folder, state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    base.tokenizer.save_pretrained(folder)

    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    (folder / "log_history.jsonl").write_text(
        "".join(json.dumps(entry) + "\n" for entry in trainer.state.log_history), encoding="utf-8"
    )
    plot_loss(history, folder / "loss_curve.png")
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    versions = {name: version(name) for name in ("fintunnel", "torch", "transformers", "peft", "trl", "bitsandbytes")}
    write_training_info(
        folder,
        TrainingInfo(
            base=base.info.id,
            device=_device_name(base.device),
            quantization=base.quantization,
            precision=base.precision.dtype,
            options=options,
            target_modules=sorted(lora.target_modules),
            samples=len(encoded.rows),
            samples_shortened=encoded.shortened,
            samples_dropped=encoded.dropped,
            tokens_per_epoch=encoded.tokens,
            trainable_parameters=trainable,
            total_parameters=_logical_parameters(model),
            steps=trainer.state.global_step,
            epochs_done=round(float(trainer.state.epoch or 0), 3),
            seconds=round(seconds, 1),
            first_loss=history[0]["loss"],
            last_loss=history[-1]["loss"],
            peak_memory_gib=round(peak_memory_gib(base.device), 2),
            versions=versions,
        ),
    )
    write_manifest(
        folder,
        base=base.info,
        quantization=base.quantization,
        target_modules=sorted(lora.target_modules),
        prompt_version=PROMPT_VERSION if data.has_requests else None,
        edges=data.edges,
        splits=data.splits,
        data_sha256=data.sha256,
        versions=versions,
    )
    read_adapter(folder)


def put_in_place(folder: Path, out: Path) -> None:
    """Move the complete folder to `out`; an adapter that stood there goes only after that."""
    backup = None
    try:
        if out.exists():
            backup = Path(tempfile.mkdtemp(prefix=f".{out.name}-replaced-", dir=out.parent)) / out.name
            out.rename(backup)
        folder.chmod(0o755)  # mkdtemp's own mode lets nobody else read
        folder.rename(out)
    except OSError as error:
        if backup is not None and backup.exists() and not out.exists():
            backup.rename(out)
        raise TrainingError(
            f"训练已完成，但无法替换 {out}（{error.strerror}，可能正被服务占用）。完整的适配器在 {folder}"
        ) from error
    finally:
        if backup is not None:
            shutil.rmtree(backup.parent, ignore_errors=True)


def _logical_parameters(model: Any) -> int:
    """Parameters as the architecture counts them: two 4-bit weights share a stored byte."""
    return sum(p.numel() * (2 if p.__class__.__name__ == "Params4bit" else 1) for p in model.parameters())


def _device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name(device))
