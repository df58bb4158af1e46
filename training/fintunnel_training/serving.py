"""The served model that is asked: one that runs already, or `fintunnel serve` started for the time it takes."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import ConnectionFailed
from fintunnel.local_server import LocalServer

from fintunnel_training.adapter import Manifest
from fintunnel_training.base import EMBEDDED, Quantization
from fintunnel_training.errors import OptionError, TrainingError

__all__ = ["Connect", "base_of", "own_server", "own_service", "serve_arguments"]

_ANSWER_SECONDS = 600.0  # a large base on a CPU, with others in the queue


def base_of(manifest: Manifest | None) -> str:
    """What `--base` has to be for an adapter.

    Raises:
        OptionError: only the person knows: the base is a local folder, or the adapter has no manifest.
    """
    if manifest is None:
        raise OptionError("这个适配器没有清单，请用 --base 指定训练时的基座")
    if manifest.base.source == "local":
        raise OptionError(f"适配器的基座是本地目录 {manifest.base.id}，请用 --base 指定它现在的位置")
    return EMBEDDED if manifest.base.source == "embedded" else manifest.base.id


def serve_arguments(
    adapters: Sequence[str], base: str, quantization: Quantization, *, allow_unverified: bool, calibrated: bool
) -> list[str]:
    """`adapters`: folders, or `name=folder`. Not `calibrated`: its probabilities come as the model gives them, as what
    is fitted must not be corrected first."""
    arguments = ["--base", base, "--quantization", quantization]
    arguments += [part for adapter in adapters for part in ("--adapter", adapter)]
    if not calibrated:
        arguments.append("--no-calibration")
    return [*arguments, "--allow-unverified"] if allow_unverified else arguments


Connect = Callable[[str | None], DeepSeekClient]
"""A client of a server; of its default model, or with the name of the model that chats ask for."""


@contextmanager
def own_server(arguments: list[str]) -> Iterator[DeepSeekClient]:
    """A client of a `fintunnel serve` of its own: see `own_service`."""
    with own_service(arguments) as connect, connect(None) as client:
        yield client


@contextmanager
def own_service(arguments: list[str]) -> Iterator[Connect]:
    """Clients of a `fintunnel serve` that is started for them on a free loopback port, with a key that nobody else
    knows, and stopped after, however it ends.

    Raises:
        ConnectionFailed: the server did not start, with its last lines.
        TrainingError: it ended while it was being asked, with its last lines.
    """
    key = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="fintunnel-judge-", ignore_cleanup_errors=True) as folder:
        sys.stderr.write("启动 fintunnel serve …\n")
        with LocalServer(arguments, log=Path(folder) / "serve.log", environment={"FINTUNNEL_API_KEY": key}) as server:
            server.wait_until_ready()

            def connect(model: str | None) -> DeepSeekClient:
                return DeepSeekClient(
                    backend="finetuned", url=server.url, api_key=key, model=model, timeout=_ANSWER_SECONDS
                )

            try:
                yield connect
            except ConnectionFailed as error:
                if server.process.poll() is None:
                    raise
                raise TrainingError(
                    f"服务中途停止了（退出码 {server.process.returncode}）：\n{server.tail()}"
                ) from error
