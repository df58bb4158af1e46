"""A server that answers every request at once with the same analysis: what is left is the client's own time.

python -m bench.serving.canned_server --port 8099
"""

from __future__ import annotations

import argparse
import asyncio

from fintunnel.wire import ModelInfo, NewsAnalysis, Timing, Usage

__all__ = ["ANALYSIS"]

ANALYSIS = NewsAnalysis(
    id="ana-1",
    model=ModelInfo(backend="finetuned", base="base", adapter="tuned", prompt_version=1),
    usage=Usage(prompt_tokens=180, completion_tokens=60),
    timing_ms=Timing(queue=0.1, model=1.0, total=1.2),
    impact="high",
    impact_probs={"low": 0.1, "medium": 0.2, "high": 0.7},
    direction="bearish",
    direction_probs={"bearish": 0.6, "neutral": 0.3, "bullish": 0.1},
    signals=None,
    signal_probs=None,
    rationale="美元走强，黄金短线承压。" * 4,
)
_BODY = ANALYSIS.model_dump_json().encode()
_ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY


class _Canned(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(body) >= length:
            self._received = body[length:]
            self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Canned, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
