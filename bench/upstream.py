"""What our layer costs in front of vLLM: vLLM asked directly, through `fintunnel serve --upstream`, and our own engine.

    python -m bench.upstream --vllm-python PATH [--adapter DIR] [--rounds 2]
    python -m bench.upstream --vllm-python PATH --shape deepseek-7b      on a CUDA GPU, random weights, no download

The same base, adapter and news for all; `bench/serve.py` says how vLLM is installed and what is asked. vLLM asked
directly writes the whole JSON in one request; through us the labels are scored with their probabilities by requests of
their own, and only the rationale is written. Both vLLM rows are one vLLM. The three stay started and take turns,
so that other work on the machine meets all of them; figures are medians over the rounds. `--no-local` leaves
our own engine out, and with it what that keeps of a GPU's memory.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from fintunnel.local_server import free_port
from fintunnel.wire import NewsRequest
from fintunnel_training.base import load_tokenizer, prompt_tokens, resolve_base

from bench.random_base import SHAPES
from bench.serve import MODES, form_of, say
from bench.serving.headlines import read_headlines
from bench.serving.lineup import Wanted, line_up
from bench.serving.measure import Cell, measure, warm_up
from bench.serving.models import Served, random_shape, trained
from bench.serving.peers import PORT, FinTunnel, Form, Mode, Peer
from bench.serving.processes import ServerProcess


def main() -> None:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end with this
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as name, ExitStack() as started:
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
            None, 240, lambda messages: len(prompt_tokens(tokenizer, messages)), most_tokens=arguments.prompt_tokens
        )
        direct, *local = line_up(wanted(arguments), served, form_of(tokenizer), folder)
        ports = {direct.name: free_port()}
        peers = [direct, in_front_of(ports[direct.name], served, direct.form), *local]
        for peer in peers:
            port = ports.setdefault(peer.name, free_port())
            say(f"{peer.name}: {peer.about}")
            log = (arguments.logs or folder) / f"{peer.name}.log"
            command, environment = peer.command_on(port), peer.environment
            started.enter_context(ServerProcess(command, ready=peer.ready, port=port, log=log, environment=environment))
        # Two of them share one vLLM: what it has met for one of them lies in its cache for the other.
        unmet = map(headlines.of_cell, itertools.count(1))
        for mode in arguments.modes:
            for callers in arguments.callers:
                compare(peers, ports, mode, callers, unmet, arguments)


def in_front_of(port: int, served: Served, form: Form) -> Peer:
    flags = ["--adapter", str(served.adapter)] if served.verified else []
    return FinTunnel(
        name="through us",
        about="fintunnel serve --upstream, that very vLLM behind it",
        command=[
            *(sys.executable, "-m", "fintunnel", "serve", "--upstream", f"http://127.0.0.1:{port}"),
            *("--upstream-model", "tuned", "--upstream-base", "merged", "--port", PORT, *flags),
        ],
        form=form,
        ready="/ready",
        environment={"FINTUNNEL_API_KEY": ""},
    )


def compare(
    peers: list[Peer],
    ports: dict[str, int],
    mode: Mode,
    callers: int,
    unmet: Iterator[Callable[[int], NewsRequest]],
    arguments: argparse.Namespace,
) -> None:
    """Print a line for each server, and its rate against that of vLLM asked directly."""
    runs: dict[str, list[Cell]] = {peer.name: [] for peer in peers}
    for peer in peers:
        warm_up(peer, ports[peer.name], mode, next(unmet))
    for _ in range(arguments.rounds):
        for peer in peers:
            requests = next(unmet)
            seconds = arguments.seconds
            cell = measure(peer, ports[peer.name], mode, requests, None, callers=callers, seconds=seconds)
            runs[peer.name].append(cell)
    reference = runs[peers[0].name]
    say(f"\n{mode}, {callers} callers   requests/s   tokens/s      p50 s   valid   against vLLM, each round")
    for peer_name, cells in runs.items():
        # Rationales end where the model ends them, so that tokens are what compares; labels have none.
        ratios = [worth(cell) / worth(other) for cell, other in zip(cells, reference, strict=True)]
        rate, tokens = (statistics.median(each) for each in zip(*map(rates, cells), strict=True))
        p50 = statistics.median(cell.p50 for cell in cells)
        valid = min(cell.valid for cell in cells)
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        say(
            f"{peer_name:17}  {rate:12.2f}  {tokens:9.1f}  {p50:9.2f}  {100 * valid:5.0f}%"
            f"   {statistics.median(ratios):.2f}  ({each})"
        )


def rates(cell: Cell) -> tuple[float, float]:
    return cell.per_second, cell.per_second * cell.rationale_tokens


def worth(cell: Cell) -> float:
    """What a second brought: tokens of rationale, or answers where only labels were asked for."""
    return cell.per_second * (cell.rationale_tokens if cell.mode == "full" else 1.0)


def wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(
        names=["vllm", "fintunnel"] if arguments.local else ["vllm"],
        forms=["adapter"],
        serve_flags="",
        naive_quantization="nf4",
        transformers_python=sys.executable,
        transformers_flags=None,
        vllm_python=arguments.vllm_python,
        vllm_flags=arguments.vllm_flags,
        vllm_environment=arguments.vllm_environment,
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["embedded", *SHAPES], default="embedded")
    parser.add_argument("--random-base", type=Path, metavar="DIR", help="where a shape's base is kept, and found again")
    parser.add_argument("--adapter", type=Path, help="of the embedded base; default: one is trained")
    parser.add_argument("--vllm-python", required=True)
    parser.add_argument("--vllm-flags", default="", help="such as '--data-parallel-size 2'")
    parser.add_argument("--vllm-environment", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--no-local", dest="local", action="store_false", help="without our own engine")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=15.0, help="of a cell, where two answers each come sooner")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512, help="the longest prompt")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
