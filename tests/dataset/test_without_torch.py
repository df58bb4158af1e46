"""Building and checking an instruction set is a laptop's work: none of it needs the model libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fintunnel_training.comparison.answers import AnswerFile, StoredAnswer, StoredSystem
from fintunnel_training.comparison.cases import read_cases

from tests.training.comparison_rows import write_splits
from tests.training.test_comparison_answers import analysis

_RUN = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes", "accelerate"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from fintunnel.cli import main
main(sys.argv[1:])
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _RUN, *arguments], capture_output=True, encoding="utf-8", check=False)


def test_the_dataset_commands_run_without_torch(tmp_path: Path, sample_database: Path) -> None:
    data = str(tmp_path / "x.jsonl")
    for command in (
        ("build", "--db", str(sample_database), "--out", data, "--num-samples", "40"),
        ("check", data),
        ("stats", data),
        ("preview", data, "-n", "1"),
    ):
        done = run("dataset", *command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.stats" / "character_lengths.png").is_file()


def test_a_base_that_needs_them_is_an_error_that_names_the_extra(tmp_path: Path, sample_database: Path) -> None:
    data = str(tmp_path / "x.jsonl")
    assert run("dataset", "build", "--db", str(sample_database), "--out", data, "--num-samples", "40").returncode == 0
    for command in ("check", "stats"):
        done = run("dataset", command, data, "--base", "embedded")
        assert done.returncode == 2 and "fintunnel[training]" in done.stderr and "Traceback" not in done.stderr


def test_a_report_is_made_of_joined_answers_without_torch(tmp_path: Path) -> None:
    """Models on Colab, report on the laptop."""
    data = write_splits(tmp_path, count=12, reports=3)
    case = read_cases(tmp_path / "i.test.jsonl").cases[0]
    with AnswerFile(tmp_path / "colab.sqlite") as there:
        there.put_system(StoredSystem("f" * 64, "tuned", "tuned", "deepseek-llm-7b-chat"))
        there.put("f" * 64, case.key, "labels", StoredAnswer(analysis()))
        there.put("f" * 64, case.key, "text", StoredAnswer(analysis()))
    out = tmp_path / "out"
    done = run(
        "compare", "--data", str(data), "--join", str(tmp_path / "colab.sqlite"), "--out", str(out), "--texts", "20"
    )
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").is_file() and "只有 15 个问题中 1 个的回答" in done.stdout
