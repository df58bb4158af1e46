"""The server beside the notebook: started in the background, asked, and stopped."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from fintunnel.connection_file import FILE_NAME, read_connection
from fintunnel.errors import FinTunnelError
from fintunnel.local_server import LocalServer

from fintunnel_training.adapter import MANIFEST
from fintunnel_training.colab.asking import before_and_after
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import Form
from fintunnel_training.colab.keys import Keys
from fintunnel_training.colab.places import Places
from fintunnel_training.colab.training import base_for

__all__ = ["NotebookServer", "end_left_behind"]

_MARK = "NOTEBOOK_FOLDER"  # in a server's environment: whose it is
_END_SECONDS = 60.0  # more than it gives running requests
_LOCAL_ONLY = "只在本机，笔记本里可以问；从自己的电脑访问，"


class NotebookServer:
    """One server, which ends with the kernel."""

    def __init__(self, form: Form, places: Places, keys: Keys) -> None:
        self._form = form
        self._places = places
        self._keys = keys
        self._server: LocalServer | None = None
        self._public = False
        atexit.register(self.stop)

    def start(self) -> None:
        """Load base and adapter; the server's log goes to the cell until it is ready. Then `FINTUNNEL_URL` and
        `FINTUNNEL_API_KEY` of this kernel name it, for the cells with curl and the client.

        Raises:
            CellError: there is no adapter, a secret is missing, or the server did not start.
        """
        if not (self._places.saved / MANIFEST).is_file():
            raise CellError("还没有训练好的适配器：请先运行第 9 节。")
        tunnel, why_not = self._tunnel()
        log = self._places.work / "server.log"
        command = ["--base", base_for(self._form), "--adapter", str(self._places.saved), *tunnel]
        variables = {**self._keys.ngrok, **self._keys.hub, "FINTUNNEL_API_KEY": self._keys.api_key}
        variables[_MARK] = str(Path.cwd())
        self._server = LocalServer(command, log=log, environment=variables)
        sys.stdout.write(f"进程 {self._server.process.pid}：{self._server.url}，日志 {log}\n")
        try:
            self._server.wait_until_ready(meanwhile=_follow(self._server))
        except FinTunnelError as error:
            raise CellError(f"服务没有启动起来，原因见上面的日志。{error.advice}") from None
        url = self._server.url
        self._public = bool(tunnel)
        if self._public:
            url = read_connection(self._places.folder / FILE_NAME).url
        os.environ.update(FINTUNNEL_URL=url, FINTUNNEL_API_KEY=self._keys.api_key)
        sys.stdout.write(f"服务就绪：{url}{'（公开，凭密钥使用）' if self._public else f'（{why_not}）'}\n")

    def ask_before_and_after(self, headline: str) -> None:
        """The same headline put to the base and to the tuned model, side by side."""
        server = self._running()
        try:
            before_and_after(server.url, self._keys.api_key, headline)
        except FinTunnelError as error:
            raise CellError(f"没有得到回答：{error}\n{server.tail()}") from None

    def say_how_to_use(self) -> None:
        """Lines to paste on the laptop. They name the variable that holds the key, never the key."""
        self._running()
        if not self._public:
            sys.stdout.write(
                "现在没有公开。打开 USE_NGROK、设好两个密钥后重新运行第 4、5、13 节，这里会给出要粘贴的几行。\n"
            )
            return
        url = os.environ["FINTUNNEL_URL"]
        sys.stdout.write(
            "在自己的电脑上，先把密钥设进环境变量 FINTUNNEL_API_KEY（与 Colab 里的相同，不要写进代码），再粘贴：\n"
            f'PowerShell：$env:FINTUNNEL_BACKEND="finetuned"; $env:FINTUNNEL_URL="{url}"\n'
            f"bash：export FINTUNNEL_BACKEND=finetuned FINTUNNEL_URL={url}\n"
            "然后：fintunnel check；或在智能体里 DeepSeekClient()，它自己读这三个变量。\n"
            f"换回官方 API：把 FINTUNNEL_BACKEND 设成 deepseek。地址也写在 {self._places.folder / FILE_NAME}\n"
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.process.poll() is None

    def _running(self) -> LocalServer:
        if self._server is None or not self.is_running:
            raise CellError("服务没有在运行：请先运行第 13 节。")
        return self._server

    def _tunnel(self) -> tuple[list[str], str]:
        """The server's arguments for it, or why there is none. No web page: see the notebook on Colab's terms."""
        if not self._form.use_ngrok:
            return [], f"{_LOCAL_ONLY}请看上面的条款再决定是否打开 USE_NGROK"
        if "NGROK_AUTHTOKEN" not in self._keys.ngrok:
            return [], f"没有 NGROK_AUTHTOKEN，没有公开；{_LOCAL_ONLY}请设好它，再运行第 5 节和这一格"
        if not self._keys.own_api_key:
            raise CellError("公开的服务要有你自己知道的密钥：请设好 FINTUNNEL_API_KEY，再运行第 5 节和这一格。")
        return ["--tunnel", "ngrok", "--no-page", "--connection-file", str(self._places.folder / FILE_NAME)], ""


def end_left_behind() -> None:
    """A server that nobody here knows any more holds the GPU's memory: end those that were started from this folder,
    with another form, or by a kernel that was killed."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # another user's, or it has ended meanwhile
            if process.environ().get(_MARK) == str(Path.cwd()) and "serve" in process.cmdline():
                sys.stdout.write(f"停掉上次留下的服务（进程 {process.pid}）\n")
                process.terminate()
                process.wait(_END_SECONDS)


def _follow(server: LocalServer) -> Callable[[], None]:
    """Writes to the cell what has come to the server's log since."""
    read = 0

    def more() -> None:
        nonlocal read
        with server.log.open("rb") as log:
            log.seek(read)
            text = log.read()
        read += len(text)
        sys.stdout.write(text.decode("utf-8", errors="replace"))
        sys.stdout.flush()

    return more
