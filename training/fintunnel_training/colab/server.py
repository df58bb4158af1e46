"""The server beside the notebook: started in the background, asked, and stopped."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from fintunnel.connection_file import FILE_NAME, read_connection
from fintunnel.errors import ConfigurationError, FinTunnelError
from fintunnel.local_server import LocalServer

from fintunnel_training.colab.asking import before_and_after
from fintunnel_training.colab.commands import KERNEL_MARK
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import Form
from fintunnel_training.colab.keys import Keys
from fintunnel_training.colab.places import Places
from fintunnel_training.colab.sections import Section
from fintunnel_training.colab.training import base_for

__all__ = ["NOT_RUNNING", "NotebookServer"]

NOT_RUNNING = f"服务没有在运行：请先运行{Section.SERVE}。"

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
        self._places.check_trained()
        tunnel, why_not = self._tunnel()
        log = self._places.work / "server.log"
        began = datetime.now(UTC)
        command = ["--base", base_for(self._form), "--adapter", str(self._places.saved), *tunnel]
        variables = {**self._keys.ngrok, **self._keys.hub, "FINTUNNEL_API_KEY": self._keys.api_key}
        variables[KERNEL_MARK] = str(os.getpid())
        # A cell's stop button interrupts the kernel's whole process group, and must not end the server.
        self._server = LocalServer(command, log=log, environment=variables, own_session=True)
        sys.stdout.write(f"进程 {self._server.process.pid}：{self._server.url}，日志 {log}\n")
        try:
            self._server.wait_until_ready(meanwhile=_follow(self._server))
        except FinTunnelError as error:
            raise CellError(f"服务没有启动起来，原因见上面的日志。{error.advice}") from None
        except KeyboardInterrupt:
            self.stop()
            raise
        url = self._server.url
        self._public = bool(tunnel)
        if self._public:
            url = self._public_url(since=began)
        os.environ.update(FINTUNNEL_URL=url, FINTUNNEL_API_KEY=self._keys.api_key)
        sys.stdout.write(f"服务就绪：{url}{'（公开，凭密钥使用）' if self._public else f'（{why_not}）'}\n")

    def _public_url(self, *, since: datetime) -> str:
        """The address that this server wrote, not one that an earlier server left there: a key goes to it.

        Raises:
            CellError: it could not write it; the server has been stopped.
        """
        file = self._places.folder / FILE_NAME
        try:
            connection = read_connection(file)
        except ConfigurationError:
            connection = None
        # Written to the second.
        if (
            connection is None
            or connection.closed_at is not None
            or connection.opened_at < since.replace(microsecond=0)
        ):
            self.stop()
            raise CellError(f"公开地址没能写进 {file}：请看 Drive 是否满了、是否还挂载着，再运行这一格。服务已停止。")
        return connection.url

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
            sections = "、".join(map(str, (Section.PARAMETERS, Section.SECRETS, Section.SERVE)))
            sys.stdout.write(
                f"现在没有公开。打开 USE_NGROK、设好两个密钥后重新运行{sections}，这里会给出要粘贴的几行。\n"
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
            raise CellError(NOT_RUNNING)
        return self._server

    def _tunnel(self) -> tuple[list[str], str]:
        """The server's arguments for it, or why there is none. No web page: see the notebook on Colab's terms."""
        if not self._form.use_ngrok:
            return [], f"{_LOCAL_ONLY}请看上面的条款再决定是否打开 USE_NGROK"
        if "NGROK_AUTHTOKEN" not in self._keys.ngrok:
            return [], f"没有 NGROK_AUTHTOKEN，没有公开；{_LOCAL_ONLY}请设好它，再运行{Section.SECRETS}和这一格"
        if not self._keys.own_api_key:
            raise CellError(
                f"公开的服务要有你自己知道的密钥：请设好 FINTUNNEL_API_KEY，再运行{Section.SECRETS}和这一格。"
            )
        return ["--tunnel", "ngrok", "--no-page", "--connection-file", str(self._places.folder / FILE_NAME)], ""


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
