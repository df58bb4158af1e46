"""`fintunnel dataset augment`. Heavy modules are imported inside the command."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fintunnel_training.dataset.teacher.augment import Source
    from fintunnel_training.dataset.teacher.cache import TeacherCache
    from fintunnel_training.dataset.teacher.cost import Budget, Prices
    from fintunnel_training.dataset.teacher.protocol import Teacher
    from fintunnel_training.dataset.teacher.run import Plan, Run

__all__ = ["augment"]

_INTERRUPTED = 130


def augment(
    data: Annotated[Path, typer.Argument(help="fintunnel dataset build 写出的 X.jsonl")],
    out: Annotated[Path, typer.Option(help="改写后的指令集，旁边写其他划分和数据卡")],
    teacher_url: Annotated[str, typer.Option(help="OpenAI 格式的 API 地址，如 https://api.deepseek.com")],
    teacher_model: Annotated[str, typer.Option(help="教师模型，如 deepseek-flash")],
    teacher_key_env: Annotated[
        str | None, typer.Option(help="放密钥的环境变量；默认 TEACHER_API_KEY，DeepSeek 还看 DEEPSEEK_API_KEY")
    ] = None,
    splits: Annotated[str, typer.Option(help="改写哪些划分，逗号分隔：train,val,test")] = "train",
    price_in: Annotated[float | None, typer.Option(min=0, help="每百万输入 token 的价格")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="每百万输出 token 的价格")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="这次最多花多少（与价格同一货币）")] = None,
    max_tokens: Annotated[int, typer.Option(min=50, max=8192, help="每条回答最多 token 数")] = 200,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="同时进行的请求数")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="每分钟最多请求数")] = 60.0,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="每次请求的总时限（秒）")] = 60.0,
    limit: Annotated[int | None, typer.Option(min=0, help="这次最多问多少条；0：只用缓存里已有的回答")] = None,
    cache: Annotated[Path | None, typer.Option(help="回答的缓存；默认 OUT.teacher.sqlite")] = None,
    retry_rejected: Annotated[bool, typer.Option("--retry-rejected", help="重新问上次被拒收的")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="不再确认，直接开始")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只估计 token 和费用，不发送")] = False,
) -> None:
    """请教师模型（DeepSeek、Kimi、GPT 等）只看输入、不看标签，改写训练行的理由；不合格的回答拒收，原理由保留。"""
    from fintunnel_training.dataset.teacher.augment import check_paths, read_source
    from fintunnel_training.dataset.teacher.cache import TeacherCache
    from fintunnel_training.dataset.teacher.cost import Budget
    from fintunnel_training.dataset.teacher.protocol import Teacher
    from fintunnel_training.dataset.teacher.run import make_plan, question
    from fintunnel_training.dataset.teacher.url import chat_url, teacher_key
    from fintunnel_training.errors import OptionError

    chosen = _splits(splits)
    prices = _prices(price_in, price_out, budget)
    url = chat_url(teacher_url)
    if not teacher_model.strip():
        raise OptionError("--teacher-model 是空白的")
    if not math.isfinite(rate + timeout):
        raise OptionError("--rate 和 --timeout 应是有限的数")
    cache = cache or out.with_suffix(".teacher.sqlite")
    check_paths(data, out, cache)
    source = read_source(data)
    teacher = Teacher(url, teacher_model.strip(), None, max_tokens, concurrency, rate, timeout)
    keys = {
        split: [question(row.request, teacher, row.horizon_min) if row.request else None for row in source.rows[split]]
        for split in chosen
    }
    with TeacherCache(cache) as stored:
        asked = [item for items in keys.values() for item in items if item is not None]
        plan = make_plan(asked, stored, limit=limit, retry_rejected=retry_rejected)
        _tell_plan(plan, teacher, len(asked), prices, budget)
        if dry_run:
            return
        spending = Budget(budget, prices)
        if plan.to_ask:
            key = teacher_key(url, teacher_key_env)
            _confirm(yes)
            stored.check_writable()
            run = _ask(plan, replace(teacher, api_key=key), stored, spending, out)
        else:
            run = _ask(plan, teacher, stored, spending, out)
    _write(
        source,
        out,
        {s: [item.key if item else None for item in items] for s, items in keys.items()},
        run,
        teacher,
        prices,
    )
    if plan.to_ask:
        cost = f"，费用约 {prices.cost(spending.used):.4f}" if prices else ""
        typer.echo(f"这次用了输入 {spending.used.prompt:,}、输出 {spending.used.completion:,} token{cost}")


def _splits(given: str) -> list[str]:
    from fintunnel_training.errors import OptionError
    from fintunnel_training.instructions import SPLITS

    chosen = [split.strip() for split in given.split(",")]
    if not set(chosen) <= set(SPLITS):
        raise OptionError(f"--splits {given!r} 无效，只能从 {','.join(SPLITS)} 里选，逗号分隔")
    return [split for split in SPLITS if split in chosen]


def _prices(price_in: float | None, price_out: float | None, budget: float | None) -> Prices | None:
    from fintunnel_training.dataset.teacher.cost import Prices
    from fintunnel_training.errors import OptionError

    if (price_in is None) != (price_out is None):
        raise OptionError("--price-in 和 --price-out 要一起给")
    if any(value is not None and not math.isfinite(value) for value in (price_in, price_out, budget)):
        raise OptionError("价格和预算应是有限的数")
    if price_in is None or price_out is None:
        if budget is not None:
            raise OptionError("--budget 需要价格才能计算，请加上 --price-in 和 --price-out（每百万 token）")
        return None
    return Prices(price_in, price_out)


def _tell_plan(plan: Plan, teacher: Teacher, rows: int, prices: Prices | None, budget: float | None) -> None:
    from fintunnel_training.errors import OptionError

    questions = len(plan.known) + len(plan.to_ask) + plan.left
    left = f"，按 --limit 留下 {plan.left} 条" if plan.left else ""
    typer.echo(
        f"教师 {teacher.model}（{_host(teacher)}）：可改写 {rows} 行（{questions} 个不同的题目），"
        f"缓存已有 {len(plan.known)} 条回答，这次要问 {len(plan.to_ask)} 条{left}"
    )
    expected = plan.expected(teacher.max_tokens)
    cost = prices.cost(expected) if prices else None
    typer.echo(
        f"估计（按字数，偏高）：输入 {expected.prompt:,} token，输出至多 {expected.completion:,} token，"
        + ("没有给价格，不算费用" if cost is None else f"费用至多 {cost:.4f}（货币与价格相同，重试另计）")
    )
    if cost is not None and budget is not None and cost > budget:
        raise OptionError(
            f"估计费用 {cost:.4f} 超过 --budget {budget:g}，什么也没有发送。请调大它，或用 --limit 少问一些。"
        )


def _confirm(yes: bool) -> None:
    from fintunnel_training.errors import OptionError

    if yes:
        return
    if not sys.stdin.isatty():
        raise OptionError("不在终端里，无法确认。请加 --yes 直接开始，或用 --dry-run 只看估计。")
    try:
        agreed = typer.confirm("开始发送？", err=True)
    except typer.Abort:
        raise typer.Exit(_INTERRUPTED) from None
    if not agreed:
        typer.echo("已取消，什么也没有发送。", err=True)
        raise typer.Exit(1)


def _ask(plan: Plan, teacher: Teacher, cache: TeacherCache, budget: Budget, out: Path) -> Run:
    """Ask with a progress bar on stderr. However it ends, what was answered is in the cache and said to be."""
    import asyncio

    from tqdm import tqdm

    from fintunnel_training.dataset.teacher.protocol import TeacherStopped
    from fintunnel_training.dataset.teacher.run import Run, ask_all

    if not plan.to_ask:
        return Run(dict(plan.known))
    stored = 0
    bar = tqdm(total=len(plan.to_ask), desc="问教师", unit="条", file=sys.stderr, mininterval=0.5)

    def progress(run: Run) -> None:
        nonlocal stored
        stored = run.accepted + run.rejected
        bar.set_postfix_str(f"采纳 {run.accepted}，拒收 {run.rejected}，失败 {len(run.failures)}", refresh=False)
        bar.update(stored + len(run.failures) - bar.n)

    try:
        with _sigterm_as_ctrl_c():
            return asyncio.run(ask_all(plan, teacher, cache, budget, progress))
    except TeacherStopped as error:
        bar.close()
        kept = f"这次得到的 {stored} 条回答已存进 {cache.path}，" if stored else ""
        known = "；加 --limit 0 可以只用已有的回答写出结果" if stored or plan.known else ""
        raise TeacherStopped(f"{error}。没有写出 {out}。{kept}再运行同一条命令，会从这里继续{known}。") from error
    except KeyboardInterrupt:
        bar.close()
        kept = f"这次得到的 {stored} 条回答已存进 {cache.path}；" if stored else "这次还没有得到回答；"
        typer.echo(f"{kept}再运行同一条命令，会从这里继续。", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        bar.close()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """asyncio unwinds on Ctrl+C; an exception from any other handler would strike in the middle of some task."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(
    source: Source,
    out: Path,
    keys: dict[str, list[str | None]],
    run: Run,
    teacher: Teacher,
    prices: Prices | None,
) -> None:
    from fintunnel_training.dataset.teacher.augment import write_augmented
    from fintunnel_training.dataset.teacher.card import teacher_section
    from fintunnel_training.dataset.teacher.run import rationales

    section = teacher_section([key for part in keys.values() for key in part if key], run, teacher, prices)
    section["splits"] = list(keys)
    paths = write_augmented(source, out, rationales(run, keys), f"teacher:{teacher.model}", section)
    typer.echo(section["summary"])
    if not section["accepted"]:
        typer.echo("注意：没有采纳任何回答，行的内容与原来相同。", err=True)
    typer.echo("写好：" + "，".join(str(path) for path in paths))


def _host(teacher: Teacher) -> str:
    import httpx

    return httpx.URL(teacher.url).netloc.decode()
