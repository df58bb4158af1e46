from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from fintunnel.wire import ModelInfo, NewsAnalysis, Timing, Usage
from fintunnel_training.comparison.answers import AnswerFile, StoredAnswer, StoredSystem
from fintunnel_training.comparison.result import Training
from fintunnel_training.errors import DataError

TRAINING = Training(
    system="tuned", folder="adapter", info={"steps": 60}, calibration=None, loss_curve=None, adapter_bytes=5,
    edges=None, splits={},
)  # fmt: skip
TUNED = StoredSystem("f" * 64, "tuned", "tuned", "embedded", "tuned", TRAINING, b"\x89PNG")


def analysis(text: str = "金价承压。") -> NewsAnalysis:
    return NewsAnalysis(
        id="1",
        model=ModelInfo(backend="finetuned", base="b", adapter="tuned", prompt_version=1),
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        timing_ms=Timing(queue=0, model=1, total=1),
        impact="low",
        impact_probs=None,
        direction="neutral",
        direction_probs=None,
        signals=None,
        signal_probs=None,
        rationale=text,
    )


def test_what_was_put_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers.sqlite"
    with AnswerFile(path) as file:
        file.put_system(TUNED)
        file.put("f" * 64, "q1", "labels", StoredAnswer(analysis()))
        file.put("f" * 64, "q1", "free", StoredAnswer(written="{}"))
        file.put("f" * 64, "q2", "labels", StoredAnswer(failure="没有余额"))
        file.put_rate("f" * 64, "labels", 30, 10.0)
        file.put_rate("f" * 64, "labels", 10, 10.0)
    with AnswerFile(path) as file:
        assert file.systems() == [TUNED]
        labels = file.answers("f" * 64, "labels")
        assert labels["q1"].analysis == analysis() and labels["q2"].failure == "没有余额"
        assert file.answers("f" * 64, "free")["q1"].written == "{}" and file.answers("other", "labels") == {}
        assert file.rate("f" * 64, "labels") == 2.0 and file.rate("f" * 64, "text") is None
        file.put("f" * 64, "q2", "labels", StoredAnswer(analysis()))
        assert file.answers("f" * 64, "labels")["q2"] == StoredAnswer(analysis())


def test_another_machines_answers_are_taken_over_once(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "colab.sqlite") as colab:
        colab.put_system(TUNED)
        for question in ("q1", "q2", "q3"):
            colab.put("f" * 64, question, "labels", StoredAnswer(analysis("那边的")))
        colab.put("f" * 64, "q4", "labels", StoredAnswer(failure="断了"))
        colab.put_rate("f" * 64, "labels", 30, 10.0)
    with AnswerFile(tmp_path / "laptop.sqlite") as laptop:
        laptop.put("f" * 64, "q1", "labels", StoredAnswer(analysis("这边的")))
        laptop.put("f" * 64, "q2", "labels", StoredAnswer(failure="断了"))
        laptop.put("f" * 64, "q4", "labels", StoredAnswer(analysis("这边的")))
        assert laptop.join(tmp_path / "colab.sqlite") == (2, {"f" * 64})  # q2, which had failed here, and q3
        found = laptop.answers("f" * 64, "labels")
        texts = {key: answer.analysis and answer.analysis.rationale for key, answer in found.items()}  # type: ignore[union-attr]
        assert texts == {"q1": "这边的", "q2": "那边的", "q3": "那边的", "q4": "这边的"}
        assert laptop.systems() == [TUNED] and laptop.rate("f" * 64, "labels") == 3.0
        assert laptop.join(tmp_path / "colab.sqlite")[0] == 0 and laptop.rate("f" * 64, "labels") == 3.0


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "finance.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE prices (close REAL)")
    before = other.read_bytes()
    with pytest.raises(DataError, match="不是 fintunnel compare 的回答文件"):
        AnswerFile(other)
    assert other.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("no database at all, but long enough to be looked at as one" * 20, encoding="utf-8")
    with pytest.raises(DataError, match="无法使用"):
        AnswerFile(text)
    with AnswerFile(tmp_path / "ours.sqlite") as ours, pytest.raises(DataError, match="找不到"):
        ours.join(tmp_path / "none.sqlite")


def test_a_file_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "a.sqlite"):
        pass
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(DataError, match="另一个版本"):
        AnswerFile(tmp_path / "a.sqlite")


def test_answers_of_another_form_are_asked_for_again(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "a.sqlite") as file:
        file.put("f", "q", "labels", StoredAnswer(analysis()))
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        database.execute("UPDATE answers SET answer = '{\"old\": 1}'")
    database.close()
    with AnswerFile(tmp_path / "a.sqlite") as file:
        assert file.answers("f", "labels") == {}
