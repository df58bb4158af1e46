"""What 1,000 analyses cost: by the hosted API, and on a machine that is paid by the hour.

    python -m bench.cost                                                   the table, in Markdown
    python -m bench.cost --analyses-per-second 2.4 --price-per-hour 0.12   a line for what you measured

Prices are those of the day named beside them: look them up again. Hosted: tokens x price. A machine: price an hour /
(3.6 x analyses a second), busy all the time; the break-even rate is the one at which that equals the hosted price. The
tokens of an analysis are counted on instruction rows of the sample database, which hold the prompt that FinTunnel's
server gives its model and that the client sends to the hosted API, by the vendor's rule of thumb (0.6 of a token for a
Chinese character, 0.3 for any other); the hosted model writes the whole JSON, ours only the rationale.

Where no rate was measured, the line tells a bound for `BATCH` conversations at once: the matrices' arithmetic at the
data sheet's peak, and the weights read from memory once for each token of the batch. Larger batches, as vLLM takes
them, are bounded by the arithmetic alone. Real rates are lower, often several times: the bound is no estimate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serving.models import sample_instructions

__all__ = ["Machine", "Tokens", "hosted_per_1000", "machine_per_1000", "tokens_of"]

# Dollars a million tokens: input that the vendor's cache has, input that it has not, output.
CACHED, NOT_CACHED, OUTPUT = 0.0028, 0.14, 0.28
HOSTED = "deepseek-flash"
PARAMETERS = 6.9e9  # deepseek-llm-7b-chat
BATCH = 16  # conversations in the model at once, FINTUNNEL_MAX_BATCH's default


@dataclass(frozen=True)
class Tokens:
    """Of an analysis, means: the fixed instruction, what comes with the request, the JSON, the rationale in it."""

    instruction: float
    request: float
    answer: float
    rationale: float


@dataclass(frozen=True)
class Machine:
    """`flops`: dense 16-bit, a second; `bandwidth`: bytes a second; `weights`: bytes. From NVIDIA's data sheets."""

    name: str
    dollars_per_hour: float
    flops: float
    bandwidth: float
    weights: float

    def most_per_second(self, read: float, written: float) -> float:
        """Analyses a second that arithmetic and memory allow, if nothing else took any time."""
        arithmetic = self.flops / (2 * PARAMETERS * (read + written))
        reading = BATCH * self.bandwidth / (self.weights * max(written, 1.0))
        return min(arithmetic, reading)


MACHINES = (
    Machine("T4, Colab pay as you go, NF4", 0.12, 65e12, 320e9, 4.48 * 2**30),
    Machine("H200 on demand, 16 bits", 4.54, 989e12, 4.8e12, 2 * PARAMETERS),
)


def tokens_of(text: str) -> float:
    """By the vendor's rule of thumb."""
    return sum(0.6 if "\u4e00" <= character <= "\u9fff" else 0.3 for character in text)


def hosted_per_1000(tokens: Tokens, *, instruction_cached: bool) -> float:
    """Dollars."""
    cached = tokens.instruction if instruction_cached else 0.0
    new = tokens.instruction + tokens.request - cached
    return (cached * CACHED + new * NOT_CACHED + tokens.answer * OUTPUT) / 1000


def machine_per_1000(dollars_per_hour: float, analyses_per_second: float) -> float:
    """Dollars, of a machine that is busy all the time."""
    return dollars_per_hour / (3.6 * analyses_per_second)


def counted(rows: Iterable[dict[str, Any]]) -> Tokens:
    """Of the rows that are asked as `/analyze` asks news."""
    asked = [row for row in rows if row["meta"]["style"] == "json" and row["meta"]["request"]["task"] == "news"]
    return Tokens(
        instruction=statistics.mean(tokens_of(row["instruction"]) for row in asked),
        request=statistics.mean(tokens_of(row["input"]) for row in asked),
        answer=statistics.mean(tokens_of(row["output"]) for row in asked),
        rationale=statistics.mean(tokens_of(json.loads(row["output"])["rationale"]) for row in asked),
    )


def table(tokens: Tokens, measured: list[tuple[str, float, float]]) -> list[str]:
    """`measured`: what it is, dollars an hour, analyses a second."""
    hosted = hosted_per_1000(tokens, instruction_cached=False)
    cached = hosted_per_1000(tokens, instruction_cached=True)
    lines = [
        "| 1,000 analyses, full | $ an hour | analyses/s | $ for 1,000 | cheaper than hosted from |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| {HOSTED}, nothing cached | – | – | {hosted:.4f} | – |",
        f"| {HOSTED}, instruction cached | – | – | {cached:.4f} | – |",
    ]
    for name, price, rate in measured:
        lines.append(line(name, price, f"{rate:.2f}", f"{machine_per_1000(price, rate):.4f}", price / (3.6 * hosted)))
    for machine in MACHINES:
        price = machine.dollars_per_hour
        most = machine.most_per_second(tokens.request, tokens.rationale)
        least = machine_per_1000(price, most)
        lines.append(line(machine.name, price, f"not measured; < {most:.1f}", f"> {least:.4f}", price / (3.6 * hosted)))
    return lines


def line(name: str, price: float, rate: str, cost: str, even: float) -> str:
    return f"| {name} | {price:.2f} | {rate} | {cost} | {even:.2f}/s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--analyses-per-second", type=float, help="measured on your machine, with as many callers")
    parser.add_argument("--price-per-hour", type=float, help="of your machine, dollars")
    arguments = parser.parse_args()
    mine = (arguments.price_per_hour, arguments.analyses_per_second)
    if (mine[0] is None) != (mine[1] is None) or (mine[1] is not None and not (mine[1] > 0 and mine[0] >= 0)):
        parser.error("--analyses-per-second (above 0) and --price-per-hour go together")
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as folder:
        rows = sample_instructions(Path(folder)).read_text(encoding="utf-8").splitlines()
    tokens = counted(map(json.loads, rows))
    say(
        f"tokens of an analysis: instruction {tokens.instruction:.0f}, request {tokens.request:.0f}, "
        f"answer {tokens.answer:.0f}, of which rationale {tokens.rationale:.0f}\n"
    )
    for each in table(tokens, [("yours", *mine)] if mine[0] is not None else []):
        say(each)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
