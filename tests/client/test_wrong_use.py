"""Wrong options of every command: one line of Chinese that names the option and leads to the right help."""

from __future__ import annotations

import pytest

from tests.client.test_cli import run


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("serve --port 70000", "--port 的值应不大于 65535。用法见 fintunnel serve --help"),
        ("serve --port x", "--port 的值应是整数。用法见 fintunnel serve --help"),
        (
            "serve --quantization q",
            "--quantization 的值应是 'nf4'、'none' 之一，给的是 'q'。用法见 fintunnel serve --help",
        ),
        ("serve --port", "选项 --port 后面缺少它的值。用法见 fintunnel serve --help"),
        ("serve --page=1", "选项 --page 后面不带值。用法见 fintunnel serve --help"),
        ("serve --prot 1", "没有选项 --prot，相近的有：--host、--port。用法见 fintunnel serve --help"),
        ("serve models", "多出了参数 models；里面有空格的文字请加引号。用法见 fintunnel serve --help"),
        ("doctor models", "多出了参数 models；里面有空格的文字请加引号。用法见 fintunnel doctor --help"),
        ("train", "缺少选项 --data。用法见 fintunnel train --help"),
        ("calibrate models", "缺少选项 --adapter。用法见 fintunnel calibrate --help"),
        ("export models", "缺少选项 --adapter。用法见 fintunnel export --help"),
        ("dataset check", "缺少参数 file。用法见 fintunnel dataset check --help"),
        ("dataset biuld", "没有这个命令：dataset biuld，相近的有：build。全部命令见 fintunnel dataset --help"),
        ("nonsense --x", "没有这个命令：nonsense。全部命令见 fintunnel --help"),
        ("--prot", "没有选项 --prot。用法见 fintunnel --help"),
        ("check --timeout 0", "--timeout 的值应不小于 0.1。用法见 fintunnel check --help"),
    ],
)
def test_wrong_use_says_what_is_wrong_and_where_the_help_is(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*line.split()) == 2
    shown = capsys.readouterr().err
    assert shown in (f"[错误] 选项不对：{said}\n", f"[错误] {said}\n")


@pytest.mark.parametrize("command", ["train", "serve", "doctor", "calibrate", "export"])
def test_usage_names_no_commands_where_there_are_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"Usage: fintunnel {command} [OPTIONS]"
