"""Puts a finished adapter on disk: weights, tokenizer, evidence and manifest, complete or not at all."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fintunnel.prompt import PROMPT_VERSION
from fintunnel.terminal_text import system_reason

from fintunnel_training.adapter import ADAPTER_WEIGHTS, read_adapter, write_manifest
from fintunnel_training.atomic_files import replace_folder
from fintunnel_training.base import LoadedBase
from fintunnel_training.errors import TrainingError
from fintunnel_training.instructions import InstructionFile
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.estimate import Estimate, numbers
from fintunnel_training.qlora.evidence import TrainingInfo, log_line, plot_loss, write_training_info
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.session import Session

__all__ = ["check_written", "put_in_place", "write_adapter_folder"]


def write_adapter_folder(
    folder: Path,
    trainer: Any,
    *,
    base: LoadedBase,
    data: InstructionFile,
    encoded: EncodedRows,
    options: TrainOptions,
    session: Session,
    estimated: Estimate,
) -> None:
    """Write everything that belongs to an adapter and verify it as the server will."""
    import torch

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = trainer.model
    lora = model.peft_config["default"]
    lora.base_model_name_or_path = base.info.id  # not the path of this machine's cache
    dtype = getattr(torch, base.precision.dtype)
    weights = {name: p.detach().to("cpu", dtype) for name, p in model.named_parameters() if p.requires_grad}
    # 16 bits: half the size, and what the base computes in when it is served.
    model.save_pretrained(folder, state_dict=weights)
    check_written(folder / ADAPTER_WEIGHTS, model, weights)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    base.tokenizer.save_pretrained(folder)

    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    (folder / "log_history.jsonl").write_text(
        "".join(log_line(entry) for entry in trainer.state.log_history), encoding="utf-8"
    )
    plot_loss(trainer.state.log_history, folder / "loss_curve.png")
    evaluations = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    versions = {name: version(name) for name in ("fintunnel", "torch", "transformers", "peft", "trl", "bitsandbytes")}
    write_training_info(
        folder,
        TrainingInfo(
            base=base.info.id,
            device=_device_name(base.device),
            quantization=base.quantization,
            precision=base.precision.dtype,
            options=options.recipe.model_dump(mode="json") | {"preset": options.preset},
            target_modules=sorted(lora.target_modules),
            samples=len(encoded.rows),
            samples_shortened=encoded.shortened,
            samples_dropped=encoded.dropped,
            tokens_per_epoch=encoded.tokens,
            trainable_parameters=trainable,
            total_parameters=_logical_parameters(model),
            steps=trainer.state.global_step,
            epochs_done=round(float(trainer.state.epoch or 0), 3),
            seconds=round(session.seconds, 1),
            first_loss=history[0]["loss"],
            last_loss=history[-1]["loss"],
            last_eval_loss=evaluations[-1] if evaluations else None,
            best=session.best.model_dump(exclude={"worse_since"}) if session.best else None,
            batch_size_at_end=session.batch_size,
            accumulation_at_end=session.accumulation,
            events=session.events,
            estimated_gib=numbers(estimated),
            peak_memory_gib=session.peak_memory_gib,
            trainable_dtypes=sorted({str(p.dtype) for p in model.parameters() if p.requires_grad}),
            versions=versions,
            identity=session.identity,
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
    read_adapter(folder, allow_unverified=not data.has_requests)  # as the server will


def check_written(path: Path, model: Any, weights: dict[str, Any]) -> None:
    """Read the adapter back.

    Raises:
        TrainingError: the file does not hold all the weights as they are, or one is not finite.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    expected = get_peft_model_state_dict(model, state_dict=weights)  # under the names that peft writes
    written = load_file(path)
    if len(expected) != len(weights) or written.keys() != expected.keys():
        raise TrainingError(f"写出的适配器缺少权重：应有 {len(weights)} 项，写出 {len(written)} 项。检查点仍然完好。")
    for name, weight in written.items():
        if not torch.equal(weight, expected[name]):
            raise TrainingError(f"写出的适配器与训练的不同：{name}。检查点仍然完好。")
        if not torch.isfinite(weight).all():
            raise TrainingError(f"适配器里有 NaN 或无穷大：{name}。请调小 --learning-rate。检查点仍然完好。")


def put_in_place(folder: Path, out: Path) -> None:
    """Move the complete folder to `out`.

    Raises:
        TrainingError: what stands there cannot be replaced; says where the adapter is.
    """
    try:
        replace_folder(folder, out)
    except OSError as error:
        raise TrainingError(
            f"训练已完成，但无法替换 {out}（{system_reason(error)}，可能正被服务占用）。完整的适配器在 {folder}；"
            "停掉占用它的程序后，再运行同一条命令。"
        ) from error


def _logical_parameters(model: Any) -> int:
    """Parameters as the architecture counts them: two 4-bit weights share a stored byte."""
    return sum(p.numel() * (2 if p.__class__.__name__ == "Params4bit" else 1) for p in model.parameters())


def _device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name(device))
