"""`fintunnel compare`. Heavy modules are imported inside the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["compare"]

compare = typer.Typer(add_completion=False, rich_markup_mode=None, help="比较微调前后，写出报告")


@compare.command()  # a command, not a callback: options may follow the headlines
def _compare(
    more_cases: Annotated[list[str] | None, typer.Argument(metavar="[消息]...", help="跟在 --cases 后面的")] = None,
    data: Annotated[
        Path | None, typer.Option(help="X.jsonl（取它旁边的 X.test.jsonl）、X.test.jsonl，或自己的题目 JSONL")
    ] = None,
    cases: Annotated[str | None, typer.Option(help="不用数据文件，快速看看这条消息（后面可以再跟几条）的回答")] = None,
    adapter: Annotated[list[str] | None, typer.Option(help="适配器目录，或 名字=目录；可重复")] = None,
    base: Annotated[str | None, typer.Option(help="embedded、本地目录或模型 ID；默认是适配器清单里的基座")] = None,
    quantization: Annotated[
        Literal["nf4", "none"] | None, typer.Option(help="nf4：4-bit；none：16-bit；默认与训练时相同")
    ] = None,
    with_base: Annotated[bool, typer.Option("--with-base/--no-base", help="是否也问没有适配器的基座")] = True,
    url: Annotated[str | None, typer.Option(help="已在运行的服务，问它的所有模型（密钥取 FINTUNNEL_API_KEY）")] = None,
    hosted: Annotated[
        bool, typer.Option("--hosted", help="也问 DeepSeek 官方 API（DEEPSEEK_API_KEY；按量收费）")
    ] = False,
    upstream: Annotated[str | None, typer.Option(help="由另一个 OpenAI 兼容的服务做推理：它的地址")] = None,
    upstream_model: Annotated[str | None, typer.Option(help="它那里微调模型的名字")] = None,
    upstream_base: Annotated[str | None, typer.Option(help="它那里基座的名字")] = None,
    train: Annotated[Path | None, typer.Option(help="训练基线用的训练集 X.jsonl；默认是测试集旁边的")] = None,
    join: Annotated[list[Path] | None, typer.Option(help="合并别的机器上的 answers.sqlite；可重复")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="报告目录，默认 comparison（--cases 是 comparison-cases）；回答存在里面的 answers.sqlite"),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="只问这么多条新闻（按时间均匀取）；默认全部")] = None,
    texts: Annotated[int, typer.Option(min=0, help="让这么多条新闻和财报题写出文字，其余新闻只要标签")] = 60,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="抽取并排回答、重抽样的种子")] = 0,
    resamples: Annotated[int, typer.Option(min=1000, max=100_000, help="每个种子重抽样多少次")] = 2000,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="用几个种子重抽样")] = 5,
    rate: Annotated[bool, typer.Option("--rate", help="在本机打开网页，让人盲评微调前后的回答，结果写进报告")] = False,
    against: Annotated[str | None, typer.Option(help="盲评时与谁比；默认基座")] = None,
    ratings: Annotated[list[Path] | None, typer.Option(help="合并别的机器上的 ratings.sqlite；可重复")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="盲评多少对回答；各人看同样的几对，次序不同")] = 30,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="评分网页的端口；默认 8001")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="评分时自动打开浏览器")] = True,
    language: Annotated[Literal["zh", "en"], typer.Option(help="报告的语言")] = "zh",
    as_json: Annotated[bool, typer.Option("--json", help="在终端输出 report.json 的内容，供程序读取")] = False,
    allow_unverified: Annotated[bool, typer.Option(help="接受没有 manifest.json 的适配器")] = False,
) -> None:
    """把同样的问题问给基座、微调后的模型、官方 API 和简单基线，算出差别和区间，写成一份可以给人看的报告。"""
    from fintunnel_training.comparison.cases import cases_of, cases_path, read_cases, training_path
    from fintunnel_training.comparison.compare import Options, people
    from fintunnel_training.comparison.compare import compare as run
    from fintunnel_training.comparison.people import RATINGS
    from fintunnel_training.comparison.rating import check_page
    from fintunnel_training.comparison.rating import rate as open_page
    from fintunnel_training.comparison.report.write import write_report
    from fintunnel_training.comparison.systems import Choice
    from fintunnel_training.comparison.terminal import show
    from fintunnel_training.errors import OptionError
    from fintunnel_training.option_paths import usable_base

    if (data is None) == (cases is None):
        raise OptionError("请给 --data 或 --cases 其中一个")
    if more_cases and cases is None:
        raise OptionError(f"多出了参数 {more_cases[0]!r}；消息要跟在 --cases 后面")
    if upstream is not None and upstream_model is None:
        raise OptionError("--upstream 还需要 --upstream-model：它那里微调模型的名字")
    if upstream is None and (upstream_model or upstream_base):
        raise OptionError("--upstream-model 和 --upstream-base 要与 --upstream 一起用")
    if (url is not None or upstream is not None) and quantization is not None:
        raise OptionError("--quantization 用于由本命令启动的本地基座；--url 和 --upstream 的模型已经定了")
    if not rate and (port is not None or not browser or against is not None):
        raise OptionError("--port、--no-browser 和 --against 要与 --rate 一起用")
    if rate:
        check_page()
    if out is not None and out.exists() and not out.is_dir():
        raise OptionError(f"--out 应是一个目录，{out} 是文件")
    out = out or Path("comparison" if data is not None else "comparison-cases")  # a quick look replaces no report
    if data is not None:
        file, training = read_cases(cases_path(data)), train or training_path(data)
    else:
        file, training = cases_of([cases or "", *(more_cases or [])]), train
    choice = Choice(
        adapters=adapter or [],
        base=usable_base(base),
        with_base=with_base,
        quantization=quantization,
        url=url,
        upstream=None if upstream is None or upstream_model is None else (upstream, upstream_model, upstream_base),
        hosted=hosted,
        allow_unverified=allow_unverified,
    )
    options = Options(
        out=out,
        choice=choice,
        training=training,
        rows=rows,
        texts=texts if data is not None else len(file.cases),
        seed=seed,
        seeds=seeds,
        resamples=resamples,
        join=join or [],
        ratings=ratings or [],
        against=against,
        pairs=pairs,
        command=["fintunnel", *sys.argv[1:]],
    )
    found = run(file, options)
    written = write_report(found.result, out, language=language, loss_curves=found.loss_curves)
    if rate:
        open_page(found.pairs, out / RATINGS, port=port, browser=browser)
        found.result.people = people(options, found.pairs)
        written = write_report(found.result, out, language=language, loss_curves=found.loss_curves)
    if as_json:
        typer.echo((out / "report.json").read_text(encoding="utf-8"), nl=False)
    else:
        show(found.result, written, language)
    for name, reason in found.failures.items():
        typer.echo(f"{name} 没有问完：{reason}", err=True)
    if found.failures:
        raise typer.Exit(1)
