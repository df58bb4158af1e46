"""The whole evidence on one machine: last month as the test, the demo's training, calibration, comparison.

    python -m bench.compare --db finance_analysis.db --test-from 2025-10-01 --work DIR

Prints how long the comparison took and the figures that it is held to: valid answers, ECE of impact beside chance, AUC
of impact beside the context regression's of the same run. What `--work` holds already is not made again, so that the
comparison can be timed by itself; its own answers are always asked anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from run import DEMO_TRAINING

_MOST_SECONDS = 900
_MOST_ECE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--test-from", required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    data, adapter = arguments.work / "instructions.jsonl", arguments.work / "adapter"
    if not data.is_file():
        build = ["dataset", "build", "--db", str(arguments.db), "--out", str(data)]
        fintunnel(*build, "--test-from", arguments.test_from)
    if not adapter.is_dir():
        fintunnel("train", "--data", str(data), "--base", "embedded", "--out", str(adapter), *DEMO_TRAINING)
    if not (adapter / "calibration.json").is_file():
        fintunnel("calibrate", "--adapter", str(adapter), "--data", str(data))
    out = arguments.work / "comparison"
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    fintunnel("compare", "--data", str(data), "--adapter", str(adapter), "--out", str(out))
    seconds = time.monotonic() - began
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    asked = sum(system["asked"] for system in report["systems"])
    chance = next(
        each["chance"] for each in report["reliability"] if (each["field"], each["system"]) == ("impact", "tuned")
    )
    say(f"comparison: {seconds:.0f} s (bar {_MOST_SECONDS}) for {asked} questions and what is asked of them again")
    say(f"valid answers: {value(report, 'form', 'valid', 'tuned'):.1%} (bar 100 %)")
    ece = value(report, "impact", "ece", "tuned")
    say(f"ECE of impact: {ece:.3f} (bar {_MOST_ECE}; by chance {chance[0]:.3f}, up to {chance[1]:.3f})")
    tuned, regression = (value(report, "impact", "auc", name) for name in ("tuned", "context_regression"))
    say(f"AUC of impact: tuned {tuned:.3f}, context regression {regression:.3f}: ratio {tuned / regression:.2f}")


def value(report: dict[str, Any], group: str, name: str, system: str) -> float:
    measure = next(each for each in report["measures"] if (each["group"], each["name"]) == (group, name))
    return float(measure["systems"][system]["value"])


def fintunnel(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "fintunnel", *arguments], check=True)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
