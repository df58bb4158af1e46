"""A storm of requests against a running server: a third of them hang up at a random moment, one in twenty is malformed.

    python -m bench.storm [--requests 10000] [--callers 64]     the app around an instant engine
    python -m bench.storm --embedded --requests 400             the embedded model behind it

Nothing is timed. What counts: no request hangs, no status 500, no answer is given twice or to another, the server's
memory is what it was, and nothing is under way afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from fintunnel.local_server import free_port
from prometheus_client.parser import text_string_to_metric_families

from bench.dataset import resident_bytes
from bench.serving.processes import ServerProcess

KEY = "the-key-of-the-storm"
HANG_SECONDS = 120.0
MEMORY_BAR = 0.02
TENTHS = 10
HEADLINES = ("美联储宣布加息25个基点", "现货黄金短线走高15美元", "某国8月CPI年率公布值2.9%，预期2.8%，前值2.7%")
MALFORMED: tuple[tuple[str, bytes, str], ...] = (  # path, body, content type
    ("/analyze", b"{", "application/json"),
    ("/analyze", b"\xff\xfe\x00", "application/json"),
    ("/analyze", b'{"task":"news","text":"x","importance":NaN}', "application/json"),
    ("/analyze", b'{"task":"news","text":"x","mood":1}', "application/json"),
    ("/analyze", b"[" * 50_000, "application/json"),
    ("/analyze", b'{"task":"news","text":"' + b"x" * 300_000 + b'"}', "application/json"),
    ("/analyze", b"task=news", "application/x-www-form-urlencoded"),
    ("/analyze/stream", b'{"task":"poem"}', "application/json"),
    ("/analyze/batch", b'{"items":[]}', "application/json"),
    ("/v1/chat/completions", b'{"messages":"hello"}', "application/json"),
)


@dataclass
class Seen:
    statuses: Counter[int] = field(default_factory=Counter)
    aborted: int = 0
    broken: Counter[str] = field(default_factory=Counter)  # connections that ended before their answer
    wrong: list[str] = field(default_factory=list)
    hung: int = 0
    ids: Counter[str] = field(default_factory=Counter)
    request_ids: Counter[str] = field(default_factory=Counter)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--adapter", type=Path, help="with --embedded")
    parser.add_argument("--warm-up", type=int, default=500, help="requests before memory is read")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return asyncio.run(storm(arguments))


async def storm(arguments: argparse.Namespace) -> int:
    chance = random.Random(arguments.seed)
    async with served(arguments) as (url, process), caller(url, arguments.callers) as http:
        longest = 2.0 if arguments.embedded else 0.1  # until an abort, in seconds
        seen = Seen()
        # As heavy as the storm, and not counted: the model's memory of keys and values grows with the first batches.
        await many(http, arguments.warm_up, arguments.callers, chance, longest, Seen())
        await quiet(http)
        memory = [resident_bytes(process)]
        for _ in range(TENTHS):
            await many(http, arguments.requests // TENTHS, arguments.callers, chance, longest, seen)
            left = await quiet(http)
            memory.append(resident_bytes(process))
    return report(arguments, seen, left, memory)


@asynccontextmanager
async def served(arguments: argparse.Namespace) -> AsyncIterator[tuple[str, psutil.Process]]:
    port = free_port()
    command = [sys.executable, "-m", "bench.serving.instant_app", "--port", str(port)]
    if arguments.embedded:
        command = [sys.executable, "-m", "fintunnel", "serve", "--base", "embedded", "--port", str(port)]
        command += ["--adapter", str(arguments.adapter)] if arguments.adapter else []
    environment = {"FINTUNNEL_API_KEY": KEY, "FINTUNNEL_RATE_LIMIT": "off", "FINTUNNEL_MAX_QUEUE": "1000"}
    with tempfile.TemporaryDirectory(prefix="fintunnel-storm-") as folder:
        log = Path(folder) / "server.log"
        with ServerProcess(command, ready="/ready", port=port, log=log, environment=environment) as server:
            yield f"http://127.0.0.1:{port}", psutil.Process(server.process.pid)
        tracebacks = log.read_text(encoding="utf-8", errors="replace").count("Traceback")
        say(f"tracebacks in the server's log: {tracebacks}")


@asynccontextmanager
async def caller(url: str, callers: int) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=2 * callers, max_keepalive_connections=callers)
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=HANG_SECONDS, limits=limits, trust_env=False
    ) as http:
        yield http


async def many(
    http: httpx.AsyncClient, count: int, callers: int, chance: random.Random, longest: float, seen: Seen
) -> None:
    todo = iter(range(count))

    async def work() -> None:
        for _ in todo:
            await one(http, chance, longest, seen)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(work())


async def one(http: httpx.AsyncClient, chance: random.Random, longest: float, seen: Seen) -> None:
    malformed = chance.random() < 0.05
    patience = chance.uniform(0, longest) if chance.random() < 1 / 3 else None
    if malformed:
        path, content, kind = chance.choice(MALFORMED)
    else:
        path, body = well_formed(chance)
        content, kind = json.dumps(body).encode(), "application/json"
    try:
        async with asyncio.timeout(patience):
            response = await http.post(path, content=content, headers={"Content-Type": kind})
    except TimeoutError:
        seen.aborted += 1
        return
    except httpx.TimeoutException:
        seen.hung += 1
        return
    except httpx.TransportError as error:
        seen.broken[type(error).__name__] += 1
        return
    seen.statuses[response.status_code] += 1
    seen.request_ids[response.headers["x-request-id"]] += 1
    check(path, malformed, response, seen)


def well_formed(chance: random.Random) -> tuple[str, dict[str, Any]]:
    news = {"task": "news", "text": chance.choice(HEADLINES), "explain": chance.random() < 0.5, "max_tokens": 8}
    chat = {"messages": [{"role": "user", "content": chance.choice(HEADLINES)}], "max_tokens": 8}
    match chance.randrange(6):
        case 0 | 1:
            return "/analyze", news
        case 2:
            return "/analyze/stream", news
        case 3:
            return "/analyze/batch", {"items": [news] * chance.randint(1, 4) + [{"task": "news"}]}
        case 4:
            return "/v1/chat/completions", chat
    return "/v1/chat/completions", {**chat, "stream": True}


def check(path: str, malformed: bool, response: httpx.Response, seen: Seen) -> None:
    """An answer is whole, once there, and of the kind that was asked for."""
    if malformed or response.status_code != 200:
        expected = {400, 413, 415, 422} if malformed else {429, 503}
        if response.status_code not in expected or "code" not in response.json()["error"]:
            seen.wrong.append(f"{path} {response.status_code} {response.text[:200]}")
        return
    if response.headers["content-type"].startswith("text/event-stream"):
        ends = response.text.count("data: [DONE]\n\n") + response.text.count("event: done\n")
        if ends != 1 or not response.text.endswith("\n\n"):
            seen.wrong.append(f"{path} ended {ends} times: {response.text[-200:]}")
        return
    answer = response.json()
    for each in [result.get("analysis") for result in answer["results"]] if "results" in answer else [answer]:
        if each is not None:
            seen.ids[each["id"]] += 1


async def quiet(http: httpx.AsyncClient) -> dict[str, float]:
    """What the server says is under way, once that does not change any more."""
    left: dict[str, float] = {}
    for _ in range(100):
        text = (await http.get("/metrics")).text
        samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
        names = ("requests_under_way", "conversations_running", "conversations_waiting")
        left = {name: samples[f"fintunnel_{name}"] for name in names}
        if left == {names[0]: 1.0, names[1]: 0.0, names[2]: 0.0}:  # the one that asks
            break
        await asyncio.sleep(0.2)
    return left


def report(arguments: argparse.Namespace, seen: Seen, left: dict[str, float], memory: list[int]) -> int:
    twice = [number for number, times in (seen.ids + seen.request_ids).items() if times > 1]
    before, after = memory[0], memory[-1]
    growth = after / before - 1
    engine = "the embedded model" if arguments.embedded else "an instant engine"
    say(f"{arguments.requests:,} requests, {arguments.callers} at a time, {engine}, seed {arguments.seed}")
    say(f"hung up by the caller: {seen.aborted:,}; statuses: {dict(sorted(seen.statuses.items()))}")
    say(f"memory after the warm-up and each tenth, MiB: {[round(each / 2**20) for each in memory]}")
    for example in seen.wrong[:5]:
        say(f"wrong: {example}")
    bars = {
        "hung requests: 0": seen.hung == 0,
        "status 500: 0": seen.statuses[500] == 0,
        "connections broken by the server: 0": not seen.broken,
        "answers that are not whole, or not to what was asked: 0": not seen.wrong,
        "answers given twice: 0": not twice,
        f"under way afterwards: nothing ({left})": sum(left.values()) == 1,
        f"memory within 2 %: {before / 2**20:.1f} -> {after / 2**20:.1f} MiB ({growth:+.1%})": growth <= MEMORY_BAR,
    }
    for bar, met in bars.items():
        say(f"  {'met    ' if met else 'NOT met'} {bar}")
    if seen.broken:
        say(f"broken: {dict(seen.broken)}")
    return 0 if all(bars.values()) else 1


def say(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
