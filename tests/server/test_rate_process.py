"""The process that `fintunnel compare --rate` starts: its beginning and its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fintunnel.errors import ConfigurationError
from fintunnel.local_server import free_port
from fintunnel.rating_file import RatingFile
from fintunnel_server.errors import ServerError
from fintunnel_server.rate.serving import serve_ratings

from tests.rated_pairs import next_pair, rating, rating_file

PAIRS = 12


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RatingFile]:
    with rating_file(tmp_path / "ratings.sqlite", PAIRS) as made:
        yield made


def start(path: Path, port: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fintunnel_server.rate", str(path), "--port", str(port), *options]
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    return subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", creationflags=flags)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process alone")
def test_ctrl_c_ends_it_and_says_what_is_kept(file: RatingFile, name: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with start(file.path, port) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert f"{url}/" in line and f"{PAIRS} 组" in line
        with httpx.Client(base_url=url, trust_env=False, headers={"Origin": url}, timeout=20) as http:
            assert http.get("/").status_code == 200
            pair = next_pair(http, "张三")["pair"]
            assert http.post("/ratings", json=rating(pair, "张三")).status_code == 200
            # The connection is still open, as a browser's would be.
            began = time.monotonic()
            process.send_signal(getattr(signal, name))
            said = process.stderr.read()
        assert process.wait(10) == (0 if name == "SIGINT" else 143)
        assert time.monotonic() - began < 5
    assert said == f"{file.path} 里有 1 人的 1 条评分；fintunnel compare 会把它们写进报告。\n"
    assert len(file.ratings()) == 1


def test_a_port_that_is_taken_is_said_in_one_line(file: RatingFile) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        with start(file.path, other.getsockname()[1]) as process:
            _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert re.fullmatch(r"\[错误\] 端口 \d+ 不能用.*--port.*\n", said), said
        with pytest.raises(ServerError):
            serve_ratings(file.path, port=other.getsockname()[1])


def test_files_that_cannot_be_rated_are_said_before_anything_starts(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    RatingFile(empty).close()
    with pytest.raises(ConfigurationError, match="没有要评的回答"):
        serve_ratings(empty, port=free_port())
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"SQLite format 3\x00" + b"\xff" * 4000)
    with pytest.raises(ConfigurationError, match="不是评分文件"):
        serve_ratings(damaged, port=free_port())
    with pytest.raises(ConfigurationError, match="没有评分文件"):
        serve_ratings(tmp_path / "nothing.sqlite", port=free_port())
    with start(damaged, free_port()) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.startswith("[错误] ") and said.count("\n") == 1
