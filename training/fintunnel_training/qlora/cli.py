"""`fintunnel train`. Heavy modules are imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["train"]

train = typer.Typer(add_completion=False, rich_markup_mode=None, help="训练 4-bit LoRA 适配器")


@train.callback(invoke_without_command=True)
def _train(
    data: Annotated[Path, typer.Option(help="指令集 JSONL")],
    out: Annotated[Path, typer.Option(help="适配器目录")],
    base: Annotated[
        str | None, typer.Option(help="embedded、本地目录或模型 ID；默认有 GPU 用 deepseek-llm-7b-chat，否则 embedded")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01, help="训练轮数")] = 3.0,
    batch_size: Annotated[int, typer.Option(min=1, help="批大小；显存不够就调小")] = 4,
    accumulation: Annotated[int, typer.Option(min=1, help="梯度累积步数：显存不足时等效增大批大小")] = 1,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1.0, help="学习率")] = 2e-4,
    max_length: Annotated[int, typer.Option(min=64, help="每条样本最多 token 数；显存不够就调小")] = 512,
    lora_r: Annotated[int, typer.Option(min=1, help="LoRA 秩：适配器的容量与大小")] = 8,
    lora_alpha: Annotated[int, typer.Option(min=1, help="LoRA 缩放：输出乘以 alpha/r")] = 16,
    lora_dropout: Annotated[float, typer.Option(min=0, max=0.9, help="LoRA dropout")] = 0.05,
    quantization: Annotated[Literal["nf4", "none"], typer.Option(help="nf4：4-bit；none：16-bit")] = "nf4",
    max_steps: Annotated[int | None, typer.Option(min=1, help="最多训练这么多步")] = None,
    save_steps: Annotated[int, typer.Option(min=1, help="每隔多少步存一个检查点")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="随机种子")] = 42,
) -> None:
    """QLoRA 训练：NF4 基座 + LoRA（全部线性层），只对答案计算损失。"""
    from fintunnel_training.base import default_base
    from fintunnel_training.qlora.train import TrainOptions
    from fintunnel_training.qlora.train import train as run

    options = TrainOptions(
        data=data,
        out=out,
        base=base or default_base(),
        epochs=epochs,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=learning_rate,
        max_length=max_length,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        quantization=quantization,
        max_steps=max_steps,
        save_steps=save_steps,
        seed=seed,
    )
    folder = run(options)
    from fintunnel_training.qlora.evidence import TrainingInfo

    info = TrainingInfo.model_validate_json((folder / "training_info.json").read_text(encoding="utf-8"))
    size = info.file_bytes["adapter_model.safetensors"] / 2**20
    typer.echo(
        f"训练完成：{info.steps} 步，{info.seconds:.0f} 秒（{info.seconds / info.steps:.2f} 秒/步），"
        f"loss {info.first_loss:.3f} → {info.last_loss:.3f}，峰值内存 {info.peak_memory_gib:.1f} GiB"
    )
    typer.echo(
        f"适配器 {folder}（{size:.1f} MiB，可训练参数 {info.trainable_parameters:,}，"
        f"占 {info.trainable_share * 100:.2f}%）；损失曲线见 {folder / 'loss_curve.png'}"
    )
