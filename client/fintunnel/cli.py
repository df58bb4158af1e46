"""The command line. The other packages' commands are entry points, loaded only when they are called."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from fintunnel import __version__
from fintunnel.commands.analyze import analyze
from fintunnel.commands.chat import chat
from fintunnel.commands.check import check
from fintunnel.commands.mcp import mcp
from fintunnel.commands.wrong_use import wrong_use, wrong_use_message
from fintunnel.errors import ERROR_PREFIX, ConfigurationError, FinTunnelError
from fintunnel.terminal_text import printable, use_utf8

__all__ = ["app", "main"]

_HELP = {
    "dataset": "从数据库生成、检查、查看指令集",
    "doctor": "检查这台机器能否训练和服务",
    "train": "训练 4-bit LoRA 适配器",
    "calibrate": "用验证集校准模型给出的概率",
    "compare": "比较微调前后，写出可以给人看的报告",
    "export": "把适配器打包、转换或与基座合并",
    "serve": "启动 /analyze 服务，可经隧道公开",
}
_EXTRA = {
    "dataset": "dataset",
    "doctor": "training",
    "train": "training",
    "calibrate": "training",
    "compare": "dataset",
    "export": "training",
    "serve": "server",
}

_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="把财经消息数据库变成自己的金融分析模型，并用一个环境变量接入你的智能体。",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fintunnel {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001 - its callback acts on it
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="版本")
    ] = False,
) -> None: ...


app.command("analyze")(analyze)
app.command("chat")(chat)
app.command("check")(check)
app.command("mcp")(mcp)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for a failure, 2 for wrong use, 130 after Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    use_utf8()
    _add_commands()
    # As SystemExit, a request to end lets every command tidy up: half-trained folders, tunnels.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = [argument for argument in given if argument != "--debug"]
    try:
        status = app(args=given, prog_name="fintunnel", standalone_mode=False)
        raise SystemExit(status if isinstance(status, int) else 0)
    except FinTunnelError as error:
        _fail(str(error), error.exit_status, debug)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            typer.echo("已中断。", err=True)
        raise
    except KeyboardInterrupt:
        typer.echo("已中断。", err=True)
        raise SystemExit(_INTERRUPTED) from None
    except Exception as error:
        # Of the click inside typer, whose classes are not public.
        if type(error).__name__ == "Abort":
            typer.echo("已中断。", err=True)
            raise SystemExit(_INTERRUPTED) from None
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message())  # type: ignore[attr-defined]
            raise SystemExit(2) from None
        if wrong_use_message(error) is not None:
            _fail(str(wrong_use(_names(given), error)), 2, debug)
        _fail(f"程序出错：{type(error).__name__}: {error}（加 --debug 可看完整信息）", 1, debug)


def _fail(message: str, status: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    typer.echo(f"{ERROR_PREFIX} {printable(message)}", err=True)  # it may quote a file or a database
    raise SystemExit(status)


def _add_commands() -> None:
    registered = {command.name for command in app.registered_commands}
    for entry_point in sorted(entry_points(group="fintunnel.commands"), key=lambda point: point.name):
        if entry_point.name not in registered:
            _add_command(entry_point)


def _add_command(entry_point: EntryPoint) -> None:
    name = entry_point.name

    def run(context: typer.Context) -> None:
        try:
            command: typer.Typer = entry_point.load()
            status = command(args=context.args, prog_name=f"fintunnel {name}", standalone_mode=False)
        except ModuleNotFoundError as error:
            raise _missing_extra(name, error) from error
        except Exception as error:
            if wrong_use_message(error) is None or type(error).__name__ == "NoArgsIsHelpError":
                raise
            has_commands = len(command.registered_commands) > 1
            raise wrong_use([name, *_names(context.args if has_commands else [])], error) from error
        if isinstance(status, int) and status:  # how an inner command tells of Ctrl+C and of typer.Exit
            raise typer.Exit(status)

    app.command(
        name,
        help=_HELP.get(name, entry_point.value),
        add_help_option=False,  # the command's own --help answers
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(run)


def _names(arguments: list[str]) -> list[str]:
    """The command that the arguments begin with, if they do."""
    return arguments[:1] if arguments and not arguments[0].startswith("-") else []


def _missing_extra(name: str, error: ModuleNotFoundError) -> ConfigurationError:
    extra = _EXTRA.get(name, "all")
    return ConfigurationError(
        f"fintunnel {name} 还需要 {error.name}", advice=f'请运行：python -m pip install "fintunnel[{extra}]"'
    )
