"""What `write_report` leaves in the folder, and what an interrupted one does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.comparison.report import pictures, write
from fintunnel_training.comparison.report.pictures import draw_pictures, loss_curve_name
from fintunnel_training.comparison.report.word_diff import diff_texts
from fintunnel_training.comparison.report.write import write_report
from fintunnel_training.comparison.result import ComparisonResult
from fintunnel_training.dataset.looking import drawing
from fintunnel_training.errors import DataError

from tests.training.comparison_parts import TUNED
from tests.training.comparison_results import BASELINES, full
from tests.training.comparison_variants import variant

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that are not drawn: what is tested is where files go."""
    monkeypatch.setattr(pictures, "_png", lambda _: PNG)


@pytest.mark.usefixtures("quick")
def test_all_files_are_there_and_the_json_reads_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    written = write_report(full(), folder, language="zh", loss_curves={TUNED: PNG + b"curve"})
    assert {path.name for path in written} >= {"report.html", "report.json", "table.md", "defence.html"}
    assert written[0] == folder / "report.html"
    assert set(contents(folder)) == {str(path.relative_to(folder)) for path in written}
    read = ComparisonResult.model_validate_json((folder / "report.json").read_bytes())
    assert read.pictures and all((folder / path).read_bytes().startswith(PNG) for path in read.pictures.values())
    assert read.training[0].loss_curve == f"pictures/loss_curve_{TUNED}.png"
    assert (folder / read.training[0].loss_curve).read_bytes() == PNG + b"curve"
    assert read.model_copy(update={"pictures": {}, "training": full().training}) == full()


@pytest.mark.usefixtures("quick")
def test_an_interrupted_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(variant("no_people"), tmp_path, language="zh", loss_curves={})
    before = contents(tmp_path)

    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(write, "defence_html", stop)
        write_report(full(), tmp_path, language="en", loss_curves={})
    assert contents(tmp_path) == before
    real, count = Path.write_bytes, 0

    def full_disk(path: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(28, "No space left on device")
        return real(path, data)

    with monkeypatch.context() as patched, pytest.raises(DataError, match="磁盘满了"):
        patched.setattr(Path, "write_bytes", full_disk)
        write_report(full(), tmp_path, language="en", loss_curves={})
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("quick")
def test_a_loss_curve_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    write_report(full(), tmp_path, language="zh", loss_curves={TUNED: b"no picture"})
    read = ComparisonResult.model_validate_json((tmp_path / "report.json").read_bytes())
    assert read.training[0].loss_curve is None and not list(tmp_path.rglob("loss_curve*"))


def test_names_of_pictures_are_files_on_every_system() -> None:
    taken: dict[str, bytes] = {}
    for system in ("a/b", "A:B", "../../x", "", "名" * 90):
        taken[loss_curve_name(system, taken)] = b""
    ends = [name.removeprefix("loss_curve_") for name in taken]
    assert ends == ["a_b", "A_B_2", "x", "adapter", "名" * 40]


# --- pictures ---------------------------------------------------------------------------------------------


def test_pictures_are_drawn_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def look(figure: Any) -> bytes:
        texts.extend(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
        return PNG

    monkeypatch.setattr(pictures, "_png", look)
    monkeypatch.setattr(drawing, "chinese_font", lambda: None)
    drawn = draw_pictures(full(), "zh", {})
    fields = ("impact", "direction")
    expected = {"measures", "differences", "people_scales"}
    expected |= {f"{kind}_{field}" for kind in ("reliability", "confusion") for field in fields}
    assert set(drawn.png) == expected
    # Without a Chinese font: English words, and names that the fonts hold, which the captions explain.
    assert not any("\u4e00" <= c <= "\u9fff" for c in "".join(texts))
    assert drawn.renamed["measures"][BASELINES[0]] == "baseline 1" and drawn.renamed["reliability_impact"] == {}
    assert "minus the base" in texts and "84\n58%" in texts
    assert any("ECE 0.043 (chance alone ≤ 0.052)" in text for text in texts)
    assert draw_pictures(variant("cases_only"), "zh", {}).png == {}


def test_english_is_drawn_where_there_is_a_chinese_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "chinese_font", lambda: "DejaVu Sans")
    assert not drawing.Words("en").chinese
    assert drawing.Words("zh").chinese and drawing.Words().chinese


def test_hostile_names_are_drawn(tmp_path: Path) -> None:
    """For real: a dollar sign begins no formula, and no character is missing from the fonts."""
    written = write_report(variant("hostile"), tmp_path, language="en", loss_curves={})
    png = [path for path in written if path.suffix == ".png"]
    assert len(png) == 7 and all(path.stat().st_size > 5000 for path in png)


# --- what two answers have in common ----------------------------------------------------------------------


def test_differences_are_marked_by_characters_and_whole_numbers() -> None:
    pair = diff_texts("营业收入12.6亿元，同比增长8.4%", "营业收入12.8亿元，同比增长8.4%")
    assert pair is not None
    before, after = pair
    assert [part.text for part in before if part.changed] == ["12.6"]
    assert [part.text for part in after if part.changed] == ["12.8"]
    for text, parts in (("营业收入12.6亿元，同比增长8.4%", before), ("营业收入12.8亿元，同比增长8.4%", after)):
        assert "".join(part.text for part in parts) == text


def test_texts_without_anything_in_common_are_not_marked() -> None:
    assert diff_texts("与黄金关系不大。", "Rates were raised as expected") is None
    assert diff_texts("加息利空黄金", "加息利空黄金") is not None


def test_a_report_needs_none_of_the_model_libraries() -> None:
    code = (
        "import sys; import fintunnel_training.comparison.report.write\n"
        "print(*{'torch', 'transformers', 'peft', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stderr
