"""The app as `fintunnel serve` runs it, around an engine that answers at once: what is left is the app's own work.

python -m bench.serving.instant_app --port 8000
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fintunnel.prompt import Message
from fintunnel_server.app import create_app
from fintunnel_server.engine import AdapterInfo, EngineInfo, Field, Occupancy, Scores, Work
from fintunnel_server.running.connections import ConnectionLimits
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.logs import log_to_stderr
from fintunnel_server.running.server import draining_server
from fintunnel_server.settings import load_settings

_PIECE = "金"


class InstantEngine:
    """All labels are equally likely; a text is as long as it may be, in one piece a token."""

    info = EngineInfo(base="instant", adapters={"tuned": AdapterInfo()}, default_adapter="tuned", context_tokens=4096)

    def count_tokens(self, messages: list[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[InstantConversation]:
        del adapter, answer_tokens, shared
        yield InstantConversation(Work(prompt_tokens=self.count_tokens(messages)))

    def occupancy(self) -> Occupancy:
        return Occupancy(running=0)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class InstantConversation:
    work: Work

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        return [
            Scores(next(iter(field.choices)), dict.fromkeys(field.choices, 1 / len(field.choices))) for field in fields
        ]

    async def write(
        self,
        prefix: str,
        *,
        max_tokens: int,
        in_json_string: bool = False,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncIterator[str]:
        del prefix, in_json_string, temperature, seed
        for _ in range(max_tokens):
            self.work.completion_tokens += 1
            yield _PIECE

    def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    settings = load_settings()
    log_to_stderr(settings.log_format)  # a line for each request, as `serve` writes
    drain = Drain(settings.drain_seconds)
    with socket.create_server(("127.0.0.1", arguments.port)) as listener:
        draining_server(create_app(settings, InstantEngine(), drain=drain), drain, ConnectionLimits()).run([listener])


if __name__ == "__main__":
    main()
