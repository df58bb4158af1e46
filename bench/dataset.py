"""Time and peak memory of `fintunnel dataset build` at the user's size and at ten times that.

    python -m bench.dataset [--scale 1 10] [--num-samples 300 all]

Each build runs in a process of its own, as a user would start it; memory is the peak resident set of that process and
of those that it starts, together. The bars: at most 10 s and 600 MB at the user's size, a time ratio of at most 11 for
ten times as much.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from bench.make_database import EVENTS, PRICES, make_database

BARS = {"seconds": 10.0, "megabytes": 600.0, "ratio": 11.0}
_SAMPLED_EVERY_S = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--num-samples", nargs="+", default=["300", "all"])
    parser.add_argument("--runs", type=int, default=3, help="builds of each kind; the median is reported")
    arguments = parser.parse_args()
    seconds: dict[tuple[int, str], float] = {}
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as folder:
        for scale in arguments.scale:
            database = Path(folder) / f"{scale}.db"
            make_database(database, events=EVENTS * scale, prices=PRICES * scale)
            size = database.stat().st_size / 2**20
            say(f"{scale}x: {EVENTS * scale:,} events, {PRICES * scale:,} prices, {size:.0f} MiB")
            for samples in arguments.num_samples:
                out = Path(folder) / "x.jsonl"
                runs = [build(database, out, samples) for _ in range(arguments.runs)]
                took, peak = sorted(run[0] for run in runs)[len(runs) // 2], max(run[1] for run in runs)
                seconds[scale, samples] = took
                card = json.loads(out.with_suffix(".card.json").read_text(encoding="utf-8"))
                verdict = ""
                if scale == 1:
                    good = took <= BARS["seconds"] and peak <= BARS["megabytes"]
                    verdict = (
                        f"  (bar: {BARS['seconds']:.0f} s, {BARS['megabytes']:.0f} MB: {'met' if good else 'NOT met'})"
                    )
                rows = sum(card["rows"].values())
                say(f"  --num-samples {samples:>4}: {took:6.2f} s, peak {peak:5.0f} MB, {rows:,} rows{verdict}")
            database.unlink()
    if {1, 10} <= set(arguments.scale):
        for samples in arguments.num_samples:
            ratio = seconds[10, samples] / seconds[1, samples]
            met = "met" if ratio <= BARS["ratio"] else "NOT met"
            say(f"10x / 1x, --num-samples {samples:>4}: {ratio:.1f}  (bar: {BARS['ratio']:.0f}: {met})")


def build(database: Path, out: Path, samples: str) -> tuple[float, float]:
    """Seconds and peak megabytes of one build."""
    command = [sys.executable, "-m", "fintunnel", "dataset", "build", "--db", str(database), "--out", str(out)]
    began = time.monotonic()
    child = subprocess.Popen([*command, "--num-samples", samples], stdout=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        peak = max(peak, resident_bytes(psutil.Process(child.pid)))
        time.sleep(_SAMPLED_EVERY_S)
    took = time.monotonic() - began
    if child.returncode != 0:
        raise SystemExit(f"build failed: {child.returncode}")
    return took, peak / 1e6


def resident_bytes(process: psutil.Process) -> int:
    """Of the process and all that it started; of these only what is theirs alone, as they share the libraries."""
    with suppress(psutil.NoSuchProcess):  # it has just ended
        total: int = process.memory_info().rss
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total += child.memory_full_info().uss
        return total
    return 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
