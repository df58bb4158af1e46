"""A public server without a key: made on a terminal and kept privately, refused elsewhere."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fintunnel.local_server import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is a POSIX thing")

# No adapter there: the start ends after the key's turn, before anything is loaded.
SERVE = ["serve", "--base", "embedded", "--adapter", "none", "--host", "0.0.0.0"]


def on_a_terminal(home: Path, **variables: str) -> tuple[int, str]:
    import pty

    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, **places(home), **variables}
        command = [sys.executable, "-m", "fintunnel", *SERVE, "--port", str(free_port())]
        os.execve(command[0], command, environment)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side has gone
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()


def elsewhere(home: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fintunnel", *SERVE, "--port", str(free_port())], check=False, encoding="utf-8",
        stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **places(home)},
    )  # fmt: skip
    return done.returncode, done.stderr


def places(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "COLUMNS": "500"}


def test_on_a_terminal_a_key_is_made_shown_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    _, shown = on_a_terminal(tmp_path)
    [key] = re.findall(r"只显示这一次：(\S+)", shown)
    [stored] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert stored.read_text(encoding="utf-8") == key + "\n" and len(key) >= 40 and str(stored) in shown
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert "找不到适配器目录" in shown  # and the start went on

    for _, again in (on_a_terminal(tmp_path), elsewhere(tmp_path)):
        assert key not in again and str(stored) in again and "找不到适配器目录" in again


def test_elsewhere_the_start_is_refused_with_what_to_set(tmp_path: Path) -> None:
    status, said = elsewhere(tmp_path)
    assert status == 2 and "$env:FINTUNNEL_API_KEY" in said and "export FINTUNNEL_API_KEY" in said
    assert not list(tmp_path.iterdir())


def test_a_key_that_is_set_is_not_replaced(tmp_path: Path) -> None:
    _, shown = on_a_terminal(tmp_path, FINTUNNEL_API_KEYS="agent:key-of-the-agent")
    assert "已生成" not in shown and "key-of-the-agent" not in shown and not list(tmp_path.iterdir())


def test_a_key_that_can_be_guessed_is_refused_for_a_public_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "1234")
    status, said = elsewhere(tmp_path)
    assert status == 2 and "太短" in said and "1234" not in said


@pytest.mark.parametrize("content", ["", "two words", "密钥"])
def test_a_stored_key_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config" / "fintunnel").mkdir(parents=True)
    (tmp_path / "config" / "fintunnel" / "api_key").write_text(content, encoding="utf-8")
    status, said = elsewhere(tmp_path)
    assert status == 2 and "api_key" in said and "删掉它" in said
