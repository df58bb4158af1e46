"""The notebook's instruction set: the one that is there, one that is brought, one that is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fintunnel_training.adapter import file_sha256
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.places import Places

from tests.training.calibration_rows import EDGES
from tests.training.colab_runtime import Colab, launch, on_colab, places_in


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places_in(tmp_path)


class TestData:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> Path:
        row = {"instruction": "分析消息", "input": "黄金上涨", "output": "利好"}
        for name in ("mine.jsonl", "mine.val.jsonl"):
            (tmp_path / name).write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
        return tmp_path / "mine.jsonl"

    def test_ready_instruction_set_is_taken_with_its_splits(self, here: Places, rows: Path) -> None:
        launch(here, data=str(rows)).get_data()
        assert file_sha256(here.instructions) == file_sha256(rows)
        assert here.instructions.with_suffix(".val.jsonl").is_file()

    def test_what_came_along_and_what_did_not_is_said(
        self, here: Places, rows: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        launch(here, data=str(rows)).get_data()
        assert "（1 行）；一起取来的：验证集；没有的：测试集、数据卡" in capsys.readouterr().out

    def test_broken_set_is_not_taken_and_its_correction_is(self, here: Places, rows: Path) -> None:
        good = rows.read_bytes()
        rows.write_text('{"instruction": "分析消息"}\n', encoding="utf-8")
        with pytest.raises(CellError, match="缺少文本字段 output"):
            launch(here, data=str(rows)).get_data()
        assert not here.instructions.exists()
        rows.write_bytes(good)
        launch(here, data=str(rows)).get_data()
        assert here.instructions.read_bytes() == good

    def test_one_that_is_there_is_not_made_again(
        self, here: Places, rows: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copy(rows, here.instructions)
        launch(here).get_data()
        assert "用已有的指令集" in capsys.readouterr().out

    def test_other_content_is_not_written_over_it(self, here: Places, rows: Path) -> None:
        here.instructions.write_text(rows.read_text(encoding="utf-8") * 2, encoding="utf-8")
        before = here.instructions.read_bytes()
        with pytest.raises(CellError, match="内容与它不同.*FOLDER"):
            launch(here, data=str(rows)).get_data()
        assert here.instructions.read_bytes() == before

    def test_other_number_of_rows_is_named(self, here: Places, rows: Path) -> None:
        shutil.copy(rows, here.instructions)
        here.instructions.with_suffix(".card.json").write_text('{"num_samples": 300}', encoding="utf-8")
        with pytest.raises(CellError, match="NUM_SAMPLES 原来 300，现在 20"):
            launch(here).get_data()

    @pytest.mark.parametrize(("data", "source"), [("sample", "finance.db"), ("upload", "sample.db")])
    def test_set_of_another_source_is_named(self, here: Places, rows: Path, data: str, source: str) -> None:
        shutil.copy(rows, here.instructions)
        card = json.dumps({"num_samples": 20, "source": source})
        here.instructions.with_suffix(".card.json").write_text(card, encoding="utf-8")
        with pytest.raises(CellError, match=f"DATA 是 {data}，原来的.*FOLDER"):
            launch(here, data=data).get_data()

    def test_upload_of_several_files_finds_the_training_rows(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, tmp_path: Path, rows: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        uploads = {"mine.val.jsonl": b"", "mine.jsonl": rows.read_bytes()}
        on_colab(monkeypatch, Colab(uploads=uploads))
        launch(here, data="upload").get_data()
        assert file_sha256(here.instructions) == file_sha256(rows)

    def test_ready_set_that_was_uploaded_is_used_again(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, tmp_path: Path, rows: Path
    ) -> None:
        """After a disconnect all cells run again; how many rows it has is its own affair."""
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        card = json.dumps(
            {
                "num_samples": 7,
                "source": "mine.db",
                "files_sha256": {"train": file_sha256(rows)},
                "periods_utc": {},
                "edges": EDGES.model_dump(mode="json"),
            }
        ).encode()
        on_colab(monkeypatch, Colab(uploads={"mine.jsonl": rows.read_bytes(), "mine.card.json": card}))
        launch(here, data="upload").get_data()
        on_colab(monkeypatch, Colab(uploads={}))  # nothing is chosen this time
        launch(here, data="upload").get_data()
        assert here.instructions.with_suffix(".card.json").read_bytes() == card

    def test_second_upload_of_the_same_names_is_taken_whole_and_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, tmp_path: Path, rows: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        Path("mine.test.jsonl").write_bytes(b"of an upload before")
        content = rows.read_bytes()
        on_colab(monkeypatch, Colab(uploads={"mine (1).jsonl": content, "mine.val (1).jsonl": content}))
        launch(here, data="upload").get_data()
        assert here.instructions.read_bytes() == here.instructions.with_suffix(".val.jsonl").read_bytes() == content
        assert not here.instructions.with_suffix(".test.jsonl").exists()

    def test_upload_outside_colab_says_what_to_do(self, here: Places) -> None:
        with pytest.raises(CellError, match="DATA 改成"):
            launch(here, data="upload").get_data()

    def test_missing_file_is_named(self, here: Places, tmp_path: Path) -> None:
        with pytest.raises(CellError, match="找不到 DATA 说的 .*finance.db"):
            launch(here, data=str(tmp_path / "finance.db")).get_data()

    def test_building_before_getting_says_so(self, here: Places) -> None:
        with pytest.raises(CellError, match="第 6 节"):
            launch(here).build_dataset()
