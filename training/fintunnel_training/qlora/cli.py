"""`fintunnel train`. Heavy modules are imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fintunnel_training.adapter import ADAPTER_WEIGHTS
from fintunnel_training.qlora.distributed import is_main

if TYPE_CHECKING:
    from fintunnel_training.qlora.options import TrainOptions

__all__ = ["train"]

train = typer.Typer(add_completion=False, rich_markup_mode=None, help="训练 4-bit LoRA 适配器")

_CALIBRATION_ROWS = 200


@train.command()
def _train(
    data: Annotated[Path, typer.Option(help="指令集 JSONL；有 X.val.jsonl 在旁边就用它评估")],
    out: Annotated[Path, typer.Option(help="适配器目录")],
    base: Annotated[
        str | None, typer.Option(help="embedded、本地目录或模型 ID；默认有 GPU 用 deepseek-llm-7b-chat，否则 embedded")
    ] = None,
    preset: Annotated[
        Literal["t4", "ampere", "cpu"] | None, typer.Option(help="一套默认参数；默认按这台机器选，下面的选项各改一项")
    ] = None,
    resume: Annotated[
        Literal["auto", "never"], typer.Option(help="auto：有检查点就接着训练；never：从头开始")
    ] = "auto",
    mirror: Annotated[Path | None, typer.Option(help="检查点和训练好的适配器另存一份的目录，如 Google Drive")] = None,
    save_steps: Annotated[int | None, typer.Option(help="每隔多少步存一个检查点")] = None,
    eval_data: Annotated[Path | None, typer.Option(help="验证集 JSONL，代替旁边的 X.val.jsonl")] = None,
    report_to: Annotated[
        list[str] | None, typer.Option(help="另把日志送到 tensorboard（写进 X-tensorboard）、wandb 等，可重复")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="训练轮数")] = None,
    max_steps: Annotated[int | None, typer.Option(help="恰好训练这么多步，不看 --epochs")] = None,
    batch_size: Annotated[int | None, typer.Option(help="一次前向的样本数；显存不足时自动减半")] = None,
    accumulation: Annotated[int | None, typer.Option(help="梯度累积：显存不变而等效增大批大小")] = None,
    max_length: Annotated[int | None, typer.Option(help="每条样本最多 token 数；最省显存的一项")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="学习率")] = None,
    schedule: Annotated[Literal["cosine", "constant"] | None, typer.Option(help="学习率怎样变化")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="学习率从 0 升起的步数；默认总步数的 1/30")] = None,
    optimizer: Annotated[
        Literal["paged_adamw_8bit", "adamw"] | None, typer.Option(help="8 位可换页的，或 32 位的 AdamW")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="权重衰减")] = None,
    max_grad_norm: Annotated[float | None, typer.Option(help="梯度裁剪")] = None,
    gradient_checkpointing: Annotated[bool | None, typer.Option(help="重算激活值：省显存，慢三分之一")] = None,
    targets: Annotated[
        Literal["all-linear", "attention"] | None, typer.Option(help="适配哪些层；attention：适配器更小")
    ] = None,
    lora_r: Annotated[int | None, typer.Option(help="LoRA 秩：适配器的容量与大小")] = None,
    lora_alpha: Annotated[int | None, typer.Option(help="LoRA 缩放：输出乘以 alpha/r")] = None,
    lora_dropout: Annotated[float | None, typer.Option(help="LoRA dropout")] = None,
    rslora: Annotated[bool | None, typer.Option(help="rsLoRA：缩放用 alpha/√r")] = None,
    dora: Annotated[bool | None, typer.Option(help="DoRA：大小与方向分开学，约慢一倍")] = None,
    loraplus_ratio: Annotated[float | None, typer.Option(help="LoRA+：B 的学习率是 A 的几倍，常用 16")] = None,
    neftune_alpha: Annotated[float | None, typer.Option(help="NEFTune：给嵌入加噪声，常用 5")] = None,
    eval_steps: Annotated[int | None, typer.Option(help="每隔多少步评估一次；默认每轮一次")] = None,
    eval_rows: Annotated[int | None, typer.Option(help="评估用多少行验证集；0：不评估")] = None,
    early_stopping: Annotated[int | None, typer.Option(help="连续多少次评估没有变好就停，并取最好的那次")] = None,
    quantization: Annotated[Literal["nf4", "none"] | None, typer.Option(help="nf4：4-bit；none：16-bit")] = None,
    seed: Annotated[int | None, typer.Option(help="随机种子")] = None,
    calibrate: Annotated[bool, typer.Option(help="训练后用验证集校准概率（需要几分钟）")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只估计要多少显存和多少步，不训练")] = False,
) -> None:
    """QLoRA 训练：NF4 基座 + LoRA，只对答案计算损失。随时可以中断，再运行同一条命令就接着训练。"""
    changes = {name: value for name, value in locals().items() if name in _knobs()}
    from fintunnel_training.base import cuda_capability, default_base
    from fintunnel_training.option_paths import usable_base
    from fintunnel_training.qlora.options import TrainOptions
    from fintunnel_training.qlora.recipe import load_recipe, preset_for
    from fintunnel_training.qlora.train import train as run

    chosen = preset or preset_for(cuda_capability())
    options = TrainOptions(
        data=data,
        out=out,
        base=usable_base(base) or default_base(),
        recipe=load_recipe(chosen, changes),
        preset=chosen,
        eval_data=eval_data,
        resume=resume,
        mirror=mirror,
        report_to=report_to or (),
        dry_run=dry_run,
    )
    folder = run(options)
    if dry_run or not is_main():
        return
    _summarise(folder)
    if calibrate:
        _calibrate(folder, options)


def _summarise(folder: Path) -> None:
    from fintunnel_training.qlora.evidence import read_training_info

    info = read_training_info(folder)
    if info is None:
        return
    size = info.file_bytes[ADAPTER_WEIGHTS] / 2**20
    typer.echo(
        f"训练完成：{info.steps} 步，{info.seconds:.0f} 秒（{info.seconds / info.steps:.2f} 秒/步），"
        f"loss {info.first_loss:.3f} → {info.last_loss:.3f}，峰值内存 {info.peak_memory_gib:.1f} GiB"
    )
    if info.best is not None:
        typer.echo(f"取验证集上最好的第 {info.best['step']} 步（loss {info.best['eval_loss']:.3f}）")
    typer.echo(
        f"适配器 {folder}（{size:.1f} MiB，可训练参数 {info.trainable_parameters:,}，"
        f"占 {info.trainable_share * 100:.2f}%）；损失曲线见 {folder / 'loss_curve.png'}"
    )


def _calibrate(folder: Path, options: TrainOptions) -> None:
    """Through a server of its own, now that this process holds no model. A trained adapter is not lost over it."""
    from fintunnel.errors import FinTunnelError

    from fintunnel_training.calibration.calibrate import calibrate_adapter
    from fintunnel_training.calibration.calibration_file import CALIBRATION
    from fintunnel_training.calibration.report import show
    from fintunnel_training.qlora.process_memory import give_back_memory

    if (folder / CALIBRATION).is_file():
        return
    give_back_memory()
    typer.echo("用验证集校准概率（--no-calibrate 可跳过）…", err=True)
    try:
        calibration = calibrate_adapter(
            folder, options.data, eval_data=options.eval_data, base=options.base, rows=_CALIBRATION_ROWS
        )
    except FinTunnelError as error:
        validation = f" --eval-data {options.eval_data}" if options.eval_data is not None else ""
        typer.echo(
            f"没有校准：{error}\n适配器已经可用；"
            f"以后可以运行 fintunnel calibrate --adapter {folder} --data {options.data}{validation}"
        )
        return
    show(calibration, folder)


def _knobs() -> set[str]:
    from fintunnel_training.qlora.recipe import Recipe

    return set(Recipe.model_fields)
