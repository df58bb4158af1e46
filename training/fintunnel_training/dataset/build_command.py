"""`fintunnel dataset build`: sources and options in, files and an account of them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from fintunnel.terminal_text import system_reason

from fintunnel_training.errors import OptionError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fintunnel_training.dataset.sources.records import Market

__all__ = ["build"]

_MANY_TIMES = 3  # rows per event: as news, as market analysis, and one more wording
_MAX_SAMPLES = 10_000_000
_MANY_FILES = 20
_MANY_ROWS = 5000
_DAY = ["%Y-%m-%d"]


def build(
    db: Annotated[
        str,
        typer.Option(
            envvar="FINTUNNEL_DB",
            help="SQLite 文件，或 SQLAlchemy 地址（含密码时请放在环境变量 FINTUNNEL_DB 里）；只读打开",
        ),
    ],
    out: Annotated[Path, typer.Option(help="训练集 X.jsonl；旁边写 X.val.jsonl、X.test.jsonl 和 X.card.*")],
    num_samples: Annotated[str, typer.Option(metavar="N|all", help="训练集行数；all：每条训练事件都用上")] = "300",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="训练集的随机种子：相同种子得到逐字节相同的文件")
    ] = 42,
    ticker: Annotated[str, typer.Option(help="行情代码")] = "XAUUSD",
    window: Annotated[int, typer.Option(min=1, max=240, help="反应窗口：标签说的是消息之后多少分钟")] = 15,
    since: Annotated[datetime | None, typer.Option(formats=_DAY, help="只取这一天（北京时间）起的事件")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DAY, help="只取到这一天（含）为止的事件")] = None,
    test_from: Annotated[
        datetime | None, typer.Option(formats=_DAY, help="测试集从这一天（北京时间）起；默认取最后的 15% 到 20%")
    ] = None,
    mix: Annotated[str, typer.Option(help="新闻/市场分析/财报问答的比例")] = "60/20/20",
    balance: Annotated[
        Literal["none", "impact", "direction", "both"] | None,
        typer.Option(help="训练集按哪种标签均衡；默认 impact，--num-samples all 时 none。验证集和测试集从不均衡"),
    ] = None,
    news: Annotated[Path | None, typer.Option(help="另加的新闻：CSV 或 JSONL，每行一条，至少有正文和时间")] = None,
    news_columns: Annotated[str, typer.Option(help="新闻文件的列：text=列名,time=列名,importance=列名 …")] = "",
    news_zone: Annotated[str, typer.Option(help="新闻文件里没写时区的时间属于哪个时区")] = "Asia/Shanghai",
    reports: Annotated[
        Path | None, typer.Option(help="放财报 PDF 或文本的目录：从中取资料出财报问答，占财报行的一半")
    ] = None,
) -> None:
    """读取事件与行情，写出 Instruction-Input-Output 指令集（训练、验证、测试按时间划分）和数据卡。"""
    from fintunnel_training.dataset.build import build_dataset, with_baselines
    from fintunnel_training.dataset.files import write_dataset
    from fintunnel_training.dataset.options import BuildOptions, parse_mix
    from fintunnel_training.dataset.reports.files import read_reports
    from fintunnel_training.dataset.sources.news_files import parse_mapping

    options = BuildOptions(
        num_samples=_parse_count(num_samples),
        seed=seed,
        mix=parse_mix(mix),
        balance=balance,
        since=since,
        until=until,
        test_from=test_from,
    )
    if since and until and since > until:
        raise OptionError(f"--since {since.date()} 晚于 --until {until.date()}")
    _check_outputs(out, db, news)
    with _patient_collector(), _steps() as step:
        step("读取")
        library = read_reports(reports) if reports is not None else None
        # Neither the prices nor the second process are kept: the baselines need their room.
        with _second_process(options.num_samples) as second:
            market = _read(db, ticker, window, news, news_columns, news_zone)
            dataset = build_dataset(market, options, library, step, second)
            del market
        step("基线")
        dataset = with_baselines(dataset, seed)
        if news is not None:
            columns = {"columns": parse_mapping(news_columns), "zone": news_zone}
            dataset.card["news"] = {"file": news.name, "sha256": _file_hash(str(news)), **columns}
        step("写入")
        paths = write_dataset(dataset, out, source_sha256=_file_hash(db))
    _account(dataset.card, options.num_samples)
    if "reports" in dataset.card:
        _account_reports(dataset.card["reports"])
    typer.echo("写好：" + "，".join(str(path) for path in paths))
    typer.echo(f"下一步：fintunnel dataset check {out}，fintunnel dataset preview {out}")


def _parse_count(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 10 <= int(text) <= _MAX_SAMPLES):
        raise OptionError(f"--num-samples 应是 10 到 {_MAX_SAMPLES} 的整数，或 all，不是 {text[:40]}")
    return int(text)


def _check_outputs(out: Path, *sources: Path | str | None) -> None:
    from fintunnel_training.dataset.files import output_paths

    if out.suffix != ".jsonl":
        raise OptionError(f"--out 的文件名应以 .jsonl 结尾，不是 {out}")
    try:
        written = {path.resolve() for path in output_paths(out)}
        for source in sources:
            path = None if source is None else _as_file(str(source))
            if path is not None and path.resolve() in written:
                raise OptionError(f"--out 会覆盖 {path}，请换一个文件名")
    except OSError as error:
        raise OptionError(f"--out 或来源的路径无法使用：{system_reason(error)}") from error


def _as_file(source: str) -> Path | None:
    """The file that a source is, also as a `sqlite:///` URL; None for a server."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if "://" not in source:
        return Path(source)
    try:
        url = make_url(source)
    except (ArgumentError, ValueError):
        return None  # named when it is opened
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


@contextmanager
def _patient_collector() -> Iterator[None]:
    """Hundreds of thousands of records live to the end: by default the collector walks them all again and again, for a
    tenth of the time."""
    import gc

    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _second_process(num_samples: int | None) -> Iterator[Executor | None]:
    """A process beside this one for a large dataset: report rows, a fifth of the time, need nothing of the events."""
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from fintunnel_training.dataset.reports.rows import report_rows

    if num_samples is not None and num_samples < _MANY_ROWS:
        yield None
        return
    # Spawned: a fork of a process in which polars has started threads can hang. Ctrl-C is for this process to handle.
    pool = ProcessPoolExecutor(1, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        pool.submit(report_rows, 0, "train", 0, None)  # it starts and imports while the database is read
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """A progress bar over the steps; calling it with a step's name begins that step."""
    from tqdm import tqdm

    with tqdm(
        total=7, unit="步", leave=False, disable=None, bar_format="{desc} {bar} {n_fmt}/{total_fmt} {elapsed}"
    ) as bar:

        def step(name: str) -> None:
            bar.update(1)
            bar.set_description_str(name)

        yield step


def _read(db: str, ticker: str, window: int, news: Path | None, news_columns: str, news_zone: str) -> Market:
    from fintunnel_training.dataset.sources.database import read_database
    from fintunnel_training.dataset.sources.news_files import parse_mapping, parse_zone, read_news

    mapping, zone = parse_mapping(news_columns), parse_zone(news_zone)
    market = read_database(db, ticker, window, need_events=news is None)
    return market if news is None else market.with_news(*read_news(news, mapping, zone), news.name)


def _file_hash(db: str) -> str | None:
    from fintunnel_training.adapter import file_sha256

    path = _as_file(db)
    return file_sha256(path) if path is not None and path.is_file() else None


def _account(card: dict[str, Any], asked: int | None) -> None:
    """What was read, dropped, made, and what to beware of."""
    from fintunnel_training.dataset.card_markdown import DROPPED_ZH, NO_EVENTS

    typer.echo(f"读到 {card['events_read']} 条事件，划分后：{_counts(card['events'])}")
    for reason, count in card["events_dropped"].items():
        typer.echo(f"  {'略过' if reason in NO_EVENTS else '去掉'} {count} 条：{DROPPED_ZH.get(reason, reason)}")
    for note in card["notes"]:
        typer.echo(f"  {note}")
    kinds = {kind: card["rows_by_kind"].get(kind, {}).get("train", 0) for kind in ("news", "market", "report")}
    typer.echo(
        f"训练集 {card['rows']['train']} 条：新闻 {kinds['news']}，市场分析 {kinds['market']}，"
        f"财报问答 {kinds['report']}；验证集 {card['rows']['val']} 条，测试集 {card['rows']['test']} 条"
    )
    if not card["events"]["val"] or not card["events"]["test"]:
        typer.echo("注意：验证集或测试集里没有事件，数据库覆盖的时间太短。", err=True)
    times = (kinds["news"] + kinds["market"]) / max(1, card["training_events_used"])
    if asked is not None and times > _MANY_TIMES:
        typer.echo(
            f"注意：用到的 {card['training_events_used']} 条训练事件平均每条用了 {times:.1f} 次，重复太多容易过拟合。"
            f"建议 --num-samples 不超过 {int(asked * _MANY_TIMES / times)}，或换用更长时间的数据库。",
            err=True,
        )
    if card["rows_left_out_as_repeated"]:
        typer.echo(f"注意：少了 {card['rows_left_out_as_repeated']} 行，那些事件已没有别的说法可用。", err=True)
    if card["edges"]["impact"][1] == 0:
        typer.echo("注意：几乎所有反应都是 0，标签没有意义。请检查 event_impacts 和价格。", err=True)
    for line in _baseline_lines(card["baselines"]):
        typer.echo(line)


def _account_reports(reports: dict[str, Any]) -> None:
    typer.echo(f"财报目录读出 {reports['passages']} 段资料：")
    for line in [*reports["files"][:_MANY_FILES], *reports["skipped"]]:
        typer.echo(f"  {line}")
    rows = reports["rows"]
    typer.echo(f"  由它们出的题：{_counts(rows)}；其余用模拟数据")
    if not rows["train"]:
        typer.echo("注意：从这些文件里没有认出带单位的数字，没有出题。", err=True)


def _baseline_lines(baselines: dict[str, Any] | None) -> list[str]:
    if baselines is None:
        return ["测试时段的事件太少，没有计算基线。"]
    text = baselines["direction"].get("tfidf_linear_svc")
    market = baselines["impact"].get("logistic_regression_high")
    lines = []
    if text is not None:
        low, high = text["interval"]
        lines.append(
            f"  方向：字符 TF-IDF + LinearSVC 的 macro-F1 {text['value']:.3f}（95% {low:.3f}–{high:.3f}，随机约 0.33）"
        )
    if market is not None:
        low, high = market["interval"]
        lines.append(f"  影响：逻辑回归判断“高”的 AUC {market['value']:.3f}（95% {low:.3f}–{high:.3f}，随机 0.5）")
    return ["测试时段上的基线，模型要超过它们才算有用：", *lines] if lines else []


def _counts(counts: dict[str, int]) -> str:
    return f"训练 {counts['train']}，验证 {counts['val']}，测试 {counts['test']}"
