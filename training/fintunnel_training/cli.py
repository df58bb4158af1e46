"""`fintunnel dataset …` and `fintunnel train`. Heavy modules are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["dataset", "train"]

dataset = typer.Typer(no_args_is_help=True, help="从数据库生成指令集")
train = typer.Typer(help="训练 4-bit LoRA 适配器")


@dataset.callback()
def _dataset() -> None:
    """从数据库生成指令集"""


@dataset.command("build")
def build(
    db: Annotated[Path, typer.Option(help="SQLite 数据库（只读打开）")],
    out: Annotated[Path, typer.Option(help="训练集 X.jsonl；旁边写 X.val.jsonl、X.test.jsonl 和 X.card.*")],
    num_samples: Annotated[int, typer.Option(min=10, max=1_000_000, help="训练集样本数")] = 300,
    seed: Annotated[int, typer.Option(help="随机种子：相同种子得到逐字节相同的文件")] = 42,
    ticker: Annotated[str, typer.Option(help="行情代码")] = "XAUUSD",
) -> None:
    """读取事件与行情，写出 Instruction-Input-Output 指令集（训练、验证、测试按时间划分）。"""
    from fintunnel_training.adapter import file_sha256
    from fintunnel_training.card import DROPPED_ZH
    from fintunnel_training.database import read_database
    from fintunnel_training.dataset import build_dataset
    from fintunnel_training.errors import DataError
    from fintunnel_training.instructions import output_paths, write_dataset

    if db.resolve() in {path.resolve() for path in output_paths(out)}:
        raise DataError(f"--out 会覆盖数据库 {db}，请换一个文件名")
    built = build_dataset(read_database(db, ticker), num_samples, seed)
    paths = write_dataset(built, out, source_sha256=file_sha256(db))
    card = built.card
    typer.echo(f"读到 {card['events_read']} 条事件，划分后：{_counts(card['events'])}")
    for reason, count in card["events_dropped"].items():
        typer.echo(f"  去掉 {count} 条：{DROPPED_ZH.get(reason, reason)}")
    kinds = card["rows_by_kind"]
    typer.echo(
        f"训练集 {card['rows']['train']} 条：新闻 {kinds['news']['train']}，市场分析 {kinds['market']['train']}，"
        f"财报问答 {kinds['report']['train']}；验证集 {card['rows']['val']} 条，测试集 {card['rows']['test']} 条"
    )
    if not card["events"]["val"] or not card["events"]["test"]:
        typer.echo("注意：验证集或测试集里没有事件，数据库覆盖的时间太短。", err=True)
    times = (kinds["news"]["train"] + kinds["market"]["train"]) / card["events"]["train"]
    if times > _MANY_TIMES:
        typer.echo(
            f"注意：训练时段只有 {card['events']['train']} 条事件，平均每条用了 {times:.1f} 次，重复太多容易过拟合。"
            f"建议 --num-samples 不超过 {int(num_samples * _MANY_TIMES / times)}，或换用更长时间的数据库。",
            err=True,
        )
    typer.echo("写好：" + "，".join(str(path) for path in paths))


@dataset.command("sample")
def sample(out: Annotated[Path, typer.Option(help="要写的 SQLite 文件")]) -> None:
    """写出自带的示例数据库（2025 年 8—9 月）。"""
    from fintunnel_training.sample_database import build_sample_database

    build_sample_database(out)
    typer.echo(f"写好：{out}")


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
    from fintunnel_training.train import TrainOptions
    from fintunnel_training.train import train as run

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
    from fintunnel_training.evidence import TrainingInfo

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


_MANY_TIMES = 3  # rows per event: as news, as market analysis, and one more wording


def _counts(counts: dict[str, int]) -> str:
    return f"训练 {counts['train']}，验证 {counts['val']}，测试 {counts['test']}"
