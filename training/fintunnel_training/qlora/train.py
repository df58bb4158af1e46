"""The QLoRA recipe, top to bottom: instruction file → 4-bit base → LoRA adapter folder.

Dettmers et al. (2023), "QLoRA": the base frozen in NF4 with double quantisation, low-rank adapters on every
linear layer trained in float32. The loss is on the answers alone.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fintunnel_training.base import LoadedBase, Quantization, load_base
from fintunnel_training.instructions import read_instructions
from fintunnel_training.qlora.adapter_folder import put_in_place, working_folder, write_adapter_folder
from fintunnel_training.qlora.encoding import EncodedRows, encode_rows

__all__ = ["TrainOptions", "lora_weights_to_float32", "train"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


@dataclass(frozen=True)
class TrainOptions:
    data: Path
    out: Path
    base: str
    epochs: float = 3.0
    batch_size: int = 4
    """rows per step and device; more is faster and takes more memory"""
    accumulation: int = 1
    """steps whose gradients are added before the weights move: a larger batch in the memory of a small one"""
    learning_rate: float = 2e-4
    max_length: int = 512
    """tokens per row; texts are shortened to it, answers never"""
    lora_r: int = 8
    """rank of the adapter: its capacity and its size"""
    lora_alpha: int = 16
    """scale: the adapter's output is multiplied by alpha / r"""
    lora_dropout: float = 0.05
    quantization: Quantization = "nf4"
    max_steps: int | None = None
    """end after so many steps, whatever the epochs say"""
    save_steps: int = 50
    seed: int = 42


def train(options: TrainOptions) -> Path:
    """Train an adapter and write its folder to `options.out`, complete or not at all.

    Raises:
        TrainingError: the data, the base or the target folder cannot be used, or the loss became NaN.
    """
    data = read_instructions(options.data)
    out = options.out.resolve()
    with working_folder(out) as folder:
        _say(f"加载基座 {options.base}（{options.quantization}）…")
        base = load_base(options.base, options.quantization)
        encoded = encode_rows(data.rows, base.tokenizer, options.max_length)
        _say(
            f"{len(encoded.rows)} 条样本、{encoded.tokens} 个 token（其中 {encoded.shortened} 条的正文被缩短）；"
            f"设备 {base.device}，精度 {base.precision.dtype}"
        )
        if encoded.dropped:
            _say(f"注意：{encoded.dropped} 条放不进 {options.max_length} 个 token，已去掉。可调大 --max-length。")
        _keep_freed_memory()
        trainer = _build_trainer(base, encoded, options, folder / "checkpoints")
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
        hyperparameters = {k: v for k, v in asdict(options).items() if k not in ("data", "out", "base", "quantization")}
        write_adapter_folder(
            folder, trainer, base=base, data=data, encoded=encoded, options=hyperparameters, seconds=seconds
        )
    put_in_place(folder, out)
    return options.out


# --- the trainer ------------------------------------------------------------------------------------


def _build_trainer(base: LoadedBase, encoded: EncodedRows, options: TrainOptions, checkpoints: Path) -> Any:
    # trl takes seconds to import: only here, where training really starts.
    # The libraries' notes to one another; and peft, which looks for the base's config on the hub.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    from fintunnel_training.qlora.progress import ProgressCallback

    set_seed(options.seed)
    on_gpu = base.device != "cpu"
    steps = options.max_steps or math.ceil(
        len(encoded.rows) / (options.batch_size * options.accumulation) * options.epochs
    )
    config = SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 30),
        # 8-bit paged optimizer states live in CPU memory when the GPU runs out; there is none on a CPU.
        optim="paged_adamw_8bit" if on_gpu else "adamw_torch",
        fp16=base.precision.fp16,
        bf16=base.precision.bf16,
        use_cpu=not on_gpu,
        # Recomputes activations instead of keeping them: what lets 7B train in 15 GB. On a CPU only slower.
        gradient_checkpointing=on_gpu,
        max_length=None,  # encode_rows has seen to it, without cutting answers
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=False,  # needs FlashAttention, which a T4 lacks
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide NaN losses
        save_strategy="steps",
        save_steps=options.save_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,  # ProgressCallback has the bar
        dataloader_pin_memory=on_gpu,
        seed=options.seed,
    )
    trainer = SFTTrainer(
        model=base.model,
        args=config,
        train_dataset=Dataset.from_list(encoded.rows),
        processing_class=base.tokenizer,
        peft_config=LoraConfig(
            r=options.lora_r,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules="all-linear",
            bias="none",
            task_type="CAUSAL_LM",
        ),
        callbacks=[ProgressCallback(tokens_per_epoch=encoded.tokens)],
    )
    _drop_default_printer(trainer)
    lora_weights_to_float32(trainer.model)
    return trainer


def lora_weights_to_float32(model: Any) -> None:
    """SFTTrainer casts the adapter of a 4-bit model to bf16 whatever the precision; under fp16 the gradient
    scaler cannot unscale bf16 gradients and fails on a T4. float32 is right under every precision."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def _keep_freed_memory() -> None:
    """Let glibc keep the large blocks that every step frees and asks for again, instead of giving them back to
    the system each time: a sixth of the time of a step on a CPU."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _drop_default_printer(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # prints every log entry as a dict


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
