"""The notebook's server: whether it is public, when it ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from fintunnel.connection_file import Connection, write_connection
from fintunnel.local_server import LocalServer
from fintunnel_training.colab import keys, left_behind
from fintunnel_training.colab.commands import KERNEL_MARK
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import checked
from fintunnel_training.colab.left_behind import end_left_behind
from fintunnel_training.colab.places import Places
from fintunnel_training.colab.server import NotebookServer

from tests.training.colab_runtime import form, launch, places_in, ready
from tests.training.finished_adapter import bare_adapter

_posix = pytest.mark.skipif(os.name == "nt", reason="the notebook is for Colab's Linux")
_SLEEPER = "import time; print(flush=True); time.sleep(60)"
# A kernel that serves: a stand-in for Python sleeps in the server's place, and the kernel survives interrupts.
_KERNEL = """
import json, signal, sys
from fintunnel.local_server import LocalServer
from fintunnel_training.colab.launch import Launch

signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
LocalServer.wait_until_ready = lambda server, **_: server
sys.executable = sys.argv[1]
lab = Launch(**json.loads(sys.argv[2]))
lab.read_secrets()
lab.serve()
try:
    print("serving", flush=True)
    sys.stdin.readline()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places_in(tmp_path)


class TestServer:
    @pytest.mark.parametrize(
        ("ngrok", "use", "said"),
        [({}, False, "USE_NGROK"), ({}, True, "没有 NGROK_AUTHTOKEN，没有公开")],
    )
    def test_it_stays_local_without_a_token_or_the_wish(
        self, here: Places, ngrok: dict[str, str], use: bool, said: str
    ) -> None:
        server = _server(here, use, keys.Keys("k" * 32, True, ngrok, {}))
        arguments, why_not = server._tunnel()
        assert arguments == []
        assert said in why_not

    def test_public_server_has_no_page(self, here: Places) -> None:
        arguments, _ = _server(here, True, keys.Keys("k" * 32, True, {"NGROK_AUTHTOKEN": "t"}, {}))._tunnel()
        assert arguments[:3] == ["--tunnel", "ngrok", "--no-page"]

    def test_public_server_needs_a_key_that_the_person_knows(self, here: Places) -> None:
        server = _server(here, True, keys.Keys("k" * 32, False, {"NGROK_AUTHTOKEN": "t"}, {}))
        with pytest.raises(CellError, match="FINTUNNEL_API_KEY"):
            server._tunnel()

    @pytest.mark.parametrize("left", ["nothing", "closed", "older"])
    def test_an_address_that_another_server_left_is_not_taken(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, left: str
    ) -> None:
        """A key would go to it. Where Drive is full the server cannot write its own."""
        now = datetime.now(UTC).replace(microsecond=0)
        opened = now - timedelta(hours=1) if left == "older" else now + timedelta(seconds=1)
        closed = now if left == "closed" else None
        if left != "nothing":
            connection = Connection(
                url="https://old.ngrok-free.dev", key_name="default", model="m", opened_at=opened, closed_at=closed
            )
            write_connection(here.folder / "connection.json", connection)
        server = _server(here, True, keys.Keys("k" * 32, True, {"NGROK_AUTHTOKEN": "t"}, {}))
        stopped: list[bool] = []
        monkeypatch.setattr(server, "stop", lambda: stopped.append(True))
        with pytest.raises(CellError, match="公开地址没能写进.*服务已停止"):
            server._public_url(since=now)
        assert stopped == [True]

    def test_the_address_that_this_server_wrote_is_taken(self, here: Places) -> None:
        now = datetime.now(UTC)
        written = Connection(url="https://new.ngrok-free.dev", key_name="default", model="m", opened_at=now)
        write_connection(here.folder / "connection.json", written)
        server = _server(here, True, keys.Keys("k" * 32, True, {"NGROK_AUTHTOKEN": "t"}, {}))
        assert server._public_url(since=now) == "https://new.ngrok-free.dev"

    @pytest.mark.parametrize("step", ["before_and_after", "use_it_elsewhere"])
    def test_asking_before_serving_says_so(self, here: Places, step: str) -> None:
        with pytest.raises(CellError, match="第 13 节"):
            getattr(ready(here), step)()

    def test_running_everything_leaves_the_server_alone(self, here: Places, capsys: pytest.CaptureFixture[str]) -> None:
        class Running:
            is_running = True

            def stop(self) -> None:
                self.is_running = False

        lab = launch(here)
        lab._server = running = Running()  # type: ignore[assignment]
        lab.stop(confirm=False)
        assert running.is_running
        lab.stop(confirm=True)
        assert not running.is_running
        assert "服务已停止" in capsys.readouterr().out


@_posix
class TestEnding:
    @pytest.fixture
    def sleeping_python(self, tmp_path: Path, here: Places) -> Path:
        """In the server's place; and an adapter to be served."""
        bare_adapter(here.saved)
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
        program.chmod(0o755)
        return program

    def test_stop_button_of_a_later_cell_leaves_it_and_the_kernels_end_ends_it(
        self, here: Places, sleeping_python: Path
    ) -> None:
        filled_in = json.dumps(form(folder=str(here.folder), work=str(here.work)))
        command = [sys.executable, "-c", _KERNEL, str(sleeping_python), filled_in]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        ) as kernel:
            assert kernel.stdout is not None
            said = list(itertools.takewhile(lambda line: line != "serving\n", kernel.stdout))
            number = re.search(r"^进程 (\d+)：", "".join(said), re.MULTILINE)
            assert number is not None, said
            served = psutil.Process(int(number[1]))
            os.killpg(kernel.pid, signal.SIGINT)  # as jupyter_client does
            assert kernel.stdout.readline() == "interrupted\n"
            time.sleep(0.5)
            assert served.status() != psutil.STATUS_ZOMBIE  # its parent has not looked whether it ended
            kernel.communicate("\n", timeout=60)
        served.wait(10)

    def test_stop_button_while_it_starts_ends_it(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, sleeping_python: Path
    ) -> None:
        started: list[LocalServer] = []

        def interrupted(server: LocalServer, **_: object) -> LocalServer:
            started.append(server)
            raise KeyboardInterrupt

        monkeypatch.setattr(LocalServer, "wait_until_ready", interrupted)
        monkeypatch.setattr(sys, "executable", str(sleeping_python))
        with pytest.raises(KeyboardInterrupt):
            ready(here).serve()
        assert started[0].process.poll() == -signal.SIGTERM

    @pytest.fixture
    def kernels(self) -> Iterator[dict[str, int]]:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        with subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            yield {"gone": gone.pid, "other": other.pid, "this": os.getpid()}
            other.kill()

    def test_left_behind_are_this_kernels_and_those_whose_kernel_is_gone(
        self, monkeypatch: pytest.MonkeyPatch, kernels: dict[str, int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        servers = {name: _marked(_SLEEPER, pid) for name, pid in kernels.items()}
        try:
            _only(monkeypatch, *servers.values())
            assert set(left_behind.serving_processes()) == {servers["gone"].pid, servers["this"].pid}
            end_left_behind()
            assert {name for name, process in servers.items() if process.poll() is not None} == {"gone", "this"}
            assert left_behind.serving_processes() == []
        finally:
            _end(*servers.values())
        said = capsys.readouterr().out
        assert all((f"进程 {process.pid}\n" in said) == (name != "other") for name, process in servers.items())

    def test_a_command_whose_kernel_was_killed_is_ended_with_what_it_started(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As "restart session" does in the middle of a training: its own session saves it from the kernel's end."""
        inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_SLEEPER!r}])"
        code = (
            f"import sys; from fintunnel_training.colab import commands; commands.run_fintunnel({inner!r}, advice='')"
        )
        fake = tmp_path / "python"  # takes `-P -m fintunnel CODE`
        fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$4"\n', encoding="utf-8")
        fake.chmod(0o755)
        begin = f"import sys; sys.executable = {str(fake)!r}; {code}"
        with subprocess.Popen([sys.executable, "-c", begin], stdout=subprocess.PIPE) as kernel:
            assert kernel.stdout is not None
            children: list[psutil.Process] = []
            deadline = time.monotonic() + 30
            while len(children) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
                children = psutil.Process(kernel.pid).children(recursive=True)
            kernel.kill()
        assert [child.is_running() for child in children] == [True, True]
        try:
            monkeypatch.setattr(psutil, "process_iter", lambda: children)
            end_left_behind()
            gone, alive = psutil.wait_procs(children, timeout=10)
            assert len(gone) == 2 and not alive
            assert capsys.readouterr().out.count("停掉上次留下的进程") == 1
        finally:
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()

    def test_one_that_does_not_listen_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(left_behind, "_END_SECONDS", 0.5)
        deaf = _marked(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_SLEEPER}", os.getpid())
        try:
            _only(monkeypatch, deaf)
            end_left_behind()
            assert not psutil.pid_exists(deaf.pid)
        finally:
            _end(deaf)


def _only(monkeypatch: pytest.MonkeyPatch, *processes: subprocess.Popen[bytes]) -> None:
    """Nobody else's processes are touched: tests may run beside each other, and beside somebody's notebook."""
    found = [psutil.Process(process.pid) for process in processes]
    monkeypatch.setattr(psutil, "process_iter", lambda: found)


def _marked(code: str, kernel: int) -> subprocess.Popen[bytes]:
    """A process that looks like the server of a kernel, and has begun."""
    environment = {**os.environ, KERNEL_MARK: str(kernel)}
    process = subprocess.Popen([sys.executable, "-c", code, "serve"], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _server(here: Places, use_ngrok: bool, given: keys.Keys) -> NotebookServer:
    return NotebookServer(checked(form(use_ngrok=use_ngrok)), here, given)
