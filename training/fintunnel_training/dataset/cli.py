"""`fintunnel dataset …`. Heavy modules are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["dataset"]

dataset = typer.Typer(no_args_is_help=True, help="从数据库生成指令集")


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
    from fintunnel_training.dataset.build import build_dataset
    from fintunnel_training.dataset.card import DROPPED_ZH
    from fintunnel_training.dataset.database import read_database
    from fintunnel_training.dataset.files import output_paths, write_dataset
    from fintunnel_training.errors import DataError

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
    from fintunnel_training.dataset.sample_database import build_sample_database

    build_sample_database(out)
    typer.echo(f"写好：{out}")


_MANY_TIMES = 3  # rows per event: as news, as market analysis, and one more wording


def _counts(counts: dict[str, int]) -> str:
    return f"训练 {counts['train']}，验证 {counts['val']}，测试 {counts['test']}"
