"""How `fintunnel mcp` begins and ends, and what is on its streams."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.mcp_host import COMMAND, host, variables_for
from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.fixture
def variables(live_app: LiveApp) -> dict[str, str]:
    return variables_for(live_app)


def started(variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_only_protocol_is_on_stdout_and_the_end_of_stdin_ends_it(variables: dict[str, str]) -> None:
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "analyze_news", "arguments": {}}}
    server = started(variables)
    with server:
        assert server.stdin is not None and server.stdout is not None and server.stderr is not None
        for message in (INITIALIZE, INITIALIZED, call):
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        server.stdin.close()
        assert server.wait(10) == 0
        assert [answer["id"] for answer in answers] == [1, 2] and answers[1]["result"]["isError"] is True
        assert server.stdout.read() == "" and "Traceback" not in server.stderr.read()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_though_stdin_stays_open(variables: dict[str, str], number: signal.Signals) -> None:
    with started(variables) as server:
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(INITIALIZE) + "\n")
        server.stdin.flush()
        server.stdout.readline()
        server.send_signal(number)
        assert server.wait(10) == -number


def test_a_closing_host_does_not_wait_for_the_answer(
    variables: dict[str, str], engine: InstantEngine, tmp_path: Path
) -> None:
    engine.endless, engine.delay = True, 0.05

    async def run() -> float:
        async with host(variables, tmp_path / "log.txt") as client:
            asking = asyncio.ensure_future(client.call_tool("analyze_news", {"text": "美联储宣布加息25个基点"}))
            while engine.open_now == 0:
                await asyncio.sleep(0.02)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            while engine.open_now:  # cancelling reaches the model
                await asyncio.sleep(0.02)
            return asyncio.get_running_loop().time()

    async def timed() -> float:
        left = await run()
        return asyncio.get_running_loop().time() - left

    assert asyncio.run(asyncio.wait_for(timed(), 20)) < 1.9  # seconds; after 2 the SDK kills what does not end itself


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['mcp'] = None; from fintunnel.cli import main; main(['mcp'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == '[错误] fintunnel mcp 还需要 mcp。请运行：python -m pip install "fintunnel[mcp]"\n'


def test_the_client_starts_without_mcp() -> None:
    code = "import sys, fintunnel.cli; assert not {'mcp', 'mcp_types'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
