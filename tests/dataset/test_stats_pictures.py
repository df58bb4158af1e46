"""The pictures of `dataset stats`: their words, with and without a Chinese font, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fintunnel_training.dataset.looking import plots, surprise_plot
from fintunnel_training.dataset.looking.drawing import Words, chinese_font
from fintunnel_training.dataset.looking.looked import Looked, read_splits
from fintunnel_training.dataset.looking.plots import plot_labels_over_time, plot_lengths, plot_mix
from fintunnel_training.dataset.looking.stats import character_lengths
from fintunnel_training.dataset.looking.surprise import correlation, correlation_interval, surprises
from fintunnel_training.dataset.looking.surprise_plot import plot_surprises
from fintunnel_training.errors import DataError

from tests.dataset.look_runs import news, release

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, kept as they are written."""
    from fintunnel_training.dataset.looking.drawing import save_png

    kept: list[Figure] = []

    def save(figure: Figure, path: Path) -> None:
        save_png(figure, path)
        kept.append(figure)

    for module in (plots, surprise_plot):
        monkeypatch.setattr(module, "save_png", save)
    return kept


@pytest.fixture(params=["with a Chinese font", "without"])
def chinese(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    from matplotlib.font_manager import fontManager

    monkeypatch.setattr(fontManager, "ttflist", [f for f in fontManager.ttflist if f.name.startswith("DejaVu")])
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    if request.param == "without":
        return False
    fontManager.addfont(make_chinese_font(tmp_path / "squares.ttf"))
    return True


def make_chinese_font(path: Path) -> Path:
    """A font named SimHei, in which every Chinese character is a square; without Latin letters and digits."""
    from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
    from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]

    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for point in ((50, 800), (950, 800), (950, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    codes = [*range(0x4E00, 0x9FFF), *range(0x3000, 0x3020), *range(0xFF00, 0xFF60)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap(dict.fromkeys(codes, "square"))
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 50), "square": (1000, 50)})
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "SimHei", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=880, usWinAscent=880, usWinDescent=120)
    builder.setupPost()
    builder.save(path)
    return path


def words_of(figure: Figure) -> str:
    from matplotlib.text import Text as Words_

    return "\n".join(text.get_text() for text in figure.findobj(Words_))


def test_pictures_speak_chinese_where_a_font_can_show_it_and_english_elsewhere(
    data: Path, tmp_path: Path, chinese: bool, drawn: list[Figure]
) -> None:
    """A character that the font lacks is a warning, and warnings are errors here."""
    data.with_suffix(".card.json").write_text('{"balance": "impact"}', encoding="utf-8")
    looked = read_splits(data)
    assert plot_labels_over_time(looked, tmp_path / "1.png")
    plot_lengths(character_lengths(looked.all_rows()), tmp_path / "2.png", in_tokens=True)
    plot_mix(looked, tmp_path / "3.png")
    plot_surprises(surprises(looked), tmp_path / "4.png")
    over_time, lengths, mix, surprise = (words_of(figure) for figure in drawn)
    if chinese:
        assert "训练集经过均衡/抽样" in over_time and "验证集开始" in over_time and "利空" in over_time
        assert "中位数" in lengths and "市场分析" in mix and "n = 5" in surprise
    else:
        for words in (over_time, lengths, mix, surprise):
            assert all(ord(character) < 0x2E80 for character in words)
        assert "not the natural mix" in over_time and "validation begins" in over_time


def test_a_font_that_lacks_the_characters_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib
    from matplotlib.font_manager import FontEntry, fontManager

    dejavu = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    gone = FontEntry(fname=str(tmp_path / "gone.ttf"), name="Microsoft YaHei")
    monkeypatch.setattr(fontManager, "ttflist", [gone, FontEntry(fname=dejavu, name="SimHei")])
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    assert chinese_font() is None
    with Words() as say:
        assert say("中", "English") == "English"


def test_a_font_that_was_installed_after_the_list_was_made_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.font_manager import fontManager

    monkeypatch.setattr(fontManager, "ttflist", [])
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    new = [str(tmp_path / "broken.ttf"), str(make_chinese_font(tmp_path / "squares.ttf"))]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: new)
    assert chinese_font() == "SimHei"


def test_the_surprise_picture_states_correlation_and_count(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [release(n, 2.0 + surprise, 2.0, -3 * surprise) for n, surprise in enumerate((-0.3, -0.1, 0.1, 0.2, 0.4))]
    points = surprises(Looked({}, {"train": rows}, {"train": 0}, {}))
    plot_surprises(points, tmp_path / "s.png", unnatural_training=True)
    assert correlation(points) == pytest.approx(1)  # inflation above consensus weighs on gold
    assert "r = +1.00" in words_of(drawn[0]) and "n = 5" in words_of(drawn[0])
    assert "均衡/抽样" in words_of(drawn[0]) or "balanced or sampled" in words_of(drawn[0])


def test_each_release_counts_once_and_only_where_economics_points_one_way() -> None:
    rows = [release(1, 3, 2, 1), release(1, 3, 2, 1), release(2, 3, 2, 1, indicator="中国8月某项指数")]
    points = surprises(Looked({}, {"train": rows, "val": [news(3)]}, {}, {}))
    assert len(points) == 1 and points[0].towards_gold < 0
    assert correlation(points) is None and correlation_interval(0.5, 4) is None


def test_a_picture_that_cannot_be_written_is_an_error_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mix.png").mkdir()
    with pytest.raises(DataError, match=r"无法写入.*mix\.png"):
        plot_mix(read_splits(data), tmp_path / "mix.png")
    assert not list(tmp_path.glob("*.partial"))
