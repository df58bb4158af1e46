"""The port, taken before anything slow begins: a conflict shows at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from fintunnel.terminal_text import system_reason

from fintunnel_server.errors import ServerError

__all__ = ["listening"]


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """
    Raises:
        ServerError: the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if os.name != "nt":  # on Windows this option would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            # Listening now, not when uvicorn does: else another process may still take the port meanwhile.
            listener.listen(1)
        except OSError as error:
            raise ServerError(
                f"端口 {port} 不能用（{host}）：{system_reason(error)}。请换一个 --port，或停掉占用它的程序。"
            ) from error
        yield listener
