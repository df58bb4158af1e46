"""What the notebook shows of a finished training: files, facts, the comparison."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fintunnel_training.adapter import file_sha256
from fintunnel_training.colab import evidence, keeping_answers
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.places import Places
from fintunnel_training.colab.showing import Table
from fintunnel_training.comparison.answers import AnswerFile
from fintunnel_training.comparison.compare import ANSWERS

from tests.training.colab_runtime import Colab, launch, on_colab, places_in, ready
from tests.training.comparison_parts import BASE, TUNED
from tests.training.comparison_results import full
from tests.training.finished_adapter import bare_adapter


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places_in(tmp_path)


class TestEvidence:
    def test_files_are_shown_with_sizes_and_hashes(self, monkeypatch: pytest.MonkeyPatch, here: Places) -> None:
        shown: list[Table] = []
        monkeypatch.setattr(evidence, "show", shown.append)
        bare_adapter(here.saved)
        launch(here).verify()
        cells = dict((name, (size, digest)) for name, size, digest in shown[0].rows)
        assert cells["adapter_config.json"] == ("2", file_sha256(here.saved / "adapter_config.json")[:16])
        assert {"manifest.json", "adapter_model.safetensors"} <= cells.keys()

    def test_altered_file_is_an_error(self, here: Places) -> None:
        bare_adapter(here.saved)
        (here.saved / "adapter_model.safetensors").write_bytes(b"other")
        with pytest.raises(CellError, match="被改动或损坏"):
            launch(here).verify()

    @pytest.mark.parametrize("step", ["verify", "show_training", "download", "compare", "serve"])
    def test_before_training_every_step_says_so(self, here: Places, step: str) -> None:
        with pytest.raises(CellError, match="第 9 节"):
            getattr(ready(here), step)()

    def test_zip_is_handed_to_the_browser(self, monkeypatch: pytest.MonkeyPatch, here: Places) -> None:
        colab = on_colab(monkeypatch, Colab())
        monkeypatch.setattr(evidence, "zip_adapter", lambda _: None)
        launch(here, download=False).download()
        assert colab.downloaded == []
        launch(here).download()
        assert colab.downloaded == [str(here.folder / "qlora_weights.zip")]

    def test_one_question_is_shown_before_and_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[Table] = []
        monkeypatch.setattr(evidence, "show", shown.append)
        result = full()
        evidence._show_example(result)
        assert [row[0] for row in shown[0].rows] == [
            f"微调前（{BASE}）",
            f"微调后（{TUNED}）",
        ]
        texts = {answer.text for example in result.examples for answer in example.answers}
        assert {row[2] for row in shown[0].rows} <= texts

    def test_answers_of_an_interrupted_comparison_survive_the_runtime(
        self, monkeypatch: pytest.MonkeyPatch, here: Places
    ) -> None:
        """`fintunnel compare` stands aside: it answers, is looked at, answers again, and is interrupted."""
        bare_adapter(here.saved)
        monkeypatch.setattr(keeping_answers, "_SECONDS", 0.0)
        kept_meanwhile: list[int] = []

        def command(*arguments: str, meanwhile: Callable[[], None], **_: object) -> None:
            file = Path(arguments[arguments.index("--out") + 1]) / ANSWERS
            with AnswerFile(file), closing(sqlite3.connect(file)) as answers:
                answers.execute("CREATE TABLE asked (number INTEGER)")
                for number in (1, 2):
                    answers.execute("INSERT INTO asked VALUES (?)", (number,))
                    answers.commit()
                    if number == 1:
                        meanwhile()
                        kept_meanwhile.append(_count(here.folder / "comparison" / ANSWERS))
            raise KeyboardInterrupt

        monkeypatch.setattr(evidence, "run_fintunnel", command)
        with pytest.raises(KeyboardInterrupt):
            ready(here).compare()
        shutil.rmtree(here.work)  # a new runtime
        assert kept_meanwhile == [1]
        assert [path.name for path in (here.folder / "comparison").iterdir()] == [ANSWERS]
        assert _count(here.folder / "comparison" / ANSWERS) == 2

    def test_texts_of_models_are_no_html(self) -> None:
        assert "<script>" not in Table("<script>", ("",), [("<script>alert(1)</script>",)])._repr_html_()


def _count(answers: Path) -> int:
    with closing(sqlite3.connect(answers)) as connection:
        return int(connection.execute("SELECT count(*) FROM asked").fetchone()[0])
