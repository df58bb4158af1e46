from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fintunnel.wire import NewsRequest
from fintunnel_training.comparison.baselines import predict, read_labelled
from fintunnel_training.comparison.cases import read_cases
from fintunnel_training.errors import DataError

from tests.training.comparison_rows import IMPACTS, news, report, write, write_splits


def test_baselines_learn_from_the_training_split_what_the_context_tells(tmp_path: Path) -> None:
    training, validation = read_labelled(write_splits(tmp_path))
    assert (len(training), len(validation)) == (60, 45)
    cases = [case for case in read_cases(tmp_path / "i.test.jsonl").cases if isinstance(case.request, NewsRequest)]
    asked = [case.request for case in cases if isinstance(case.request, NewsRequest)]
    truth = np.array([IMPACTS.index(str(case.impact)) for case in cases])
    found = predict("impact", training, validation, asked, seed=0)
    assert set(found) == {"majority", "prior", "tfidf_svc", "context_regression"}
    regression = found["context_regression"]
    assert (regression.guesses.argmax(1) == truth).mean() > 0.9
    assert regression.probabilities is not None and regression.probabilities.sum(1) == pytest.approx(np.ones(45))
    assert (found["prior"].guesses == 1 / 3).all() and (found["majority"].guesses.sum(0) == 45).sum() == 1
    assert found["tfidf_svc"].probabilities is None and found["tfidf_svc"].scores is not None


def test_class_frequencies_are_those_of_the_validation_split(tmp_path: Path) -> None:
    """The training file is balanced; the world is not."""
    write_splits(tmp_path)
    write(tmp_path / "i.val.jsonl", [news(number, "val") for number in range(90) if number % 3 == 0 or number < 20])
    training, validation = read_labelled(tmp_path / "i.jsonl")
    asked = [each.request for each in training]
    found = predict("impact", training, validation, asked, seed=0)
    assert (found["majority"].guesses[:, 0] == 1).all()
    prior = found["prior"].probabilities
    assert prior is not None and prior[0, 0] > 0.6 and (prior == prior[0]).all()


def test_an_event_counts_once_with_its_context_and_once_without(tmp_path: Path) -> None:
    bare = news(1, "train")
    del bare["meta"]["request"]["context"]
    rows = [bare, news(1, "train"), news(1, "train"), bare, news(2, "train")]
    training, validation = read_labelled(write(tmp_path / "i.jsonl", rows))
    assert [each.request.context is None for each in training] == [True, False, False] and validation == []


def test_too_little_to_learn_from_gives_no_baselines(tmp_path: Path) -> None:
    few, _ = read_labelled(write(tmp_path / "few.jsonl", [news(number, "train") for number in range(6)]))
    assert predict("impact", few, [], [few[0].request], seed=0) == {}
    same, _ = read_labelled(write(tmp_path / "same.jsonl", [news(3 * number, "train") for number in range(40)]))
    assert predict("impact", same, [], [same[0].request], seed=0) == {}
    questions, _ = read_labelled(write(tmp_path / "questions.jsonl", [report(1, "train")]))
    assert questions == []


def test_a_class_that_training_lacks_is_never_guessed(tmp_path: Path) -> None:
    rows = [news(number, "train") for number in range(60) if number % 3 != 2]
    training, _ = read_labelled(write(tmp_path / "i.jsonl", rows))
    found = predict("impact", training, [], [each.request for each in training], seed=0)
    for prediction in found.values():
        assert prediction.guesses[:, 2].sum() == 0
    assert found["tfidf_svc"].scores is not None and np.isfinite(found["tfidf_svc"].scores).all()


def test_a_training_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="无法读取"):
        read_labelled(tmp_path / "none.jsonl")
