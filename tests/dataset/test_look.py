from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fintunnel.cli import main
from fintunnel_training.dataset.looking import plots, surprise_plot
from fintunnel_training.dataset.looking.drawing import Words, chinese_font
from fintunnel_training.dataset.looking.looked import Looked, read_rows, read_splits
from fintunnel_training.dataset.looking.plots import plot_labels_over_time, plot_lengths, plot_mix
from fintunnel_training.dataset.looking.preview import choose
from fintunnel_training.dataset.looking.stats import character_lengths, describe, unnatural_training
from fintunnel_training.dataset.looking.surprise import correlation, correlation_interval, surprises
from fintunnel_training.dataset.looking.surprise_plot import plot_surprises
from fintunnel_training.dataset.looking.terminal_text import visible, wrap
from fintunnel_training.errors import DataError
from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PNG = b"\x89PNG\r\n\x1a\n"


def news(number: int, *, split: str = "train", impact: str = "low", direction: str = "neutral", **meta: Any) -> Any:
    """A row in the shape of `dataset build`, one a day from 2025-08-04."""
    at = f"2025-{8 + number // 28:02}-{1 + number % 28:02}T02:00:00Z"
    request = {"task": "news", "text": f"第{number}条自拟消息", "published_at": at, **meta.pop("request", {})}
    signals = {"priced_in": number % 2 == 0, "wait_and_see": False} if "context" in request else None
    labels = {"impact": impact, "direction": direction, "signals": signals}
    return {
        "instruction": "判断消息的影响。",
        "input": f"<news>\n发布：周一10:00\n消息：第{number}条自拟消息\n</news>",
        "output": json.dumps(labels | {"rationale": "自拟的理由。"}, ensure_ascii=False),
        "meta": {"kind": "news", "style": "json", "split": split, "event_id": f"e{number}", "labels": labels}
        | {"request": request}
        | meta,
    }


def release(number: int, actual: float, consensus: float, reaction: float, indicator: str = "美国8月CPI年率") -> Any:
    figures = {"actual": actual, "consensus": consensus, "previous": consensus - 0.1, "unit": "%"}
    return news(
        number,
        request={"figures": figures | {"indicator": indicator}},
        reaction={"ret": reaction / 1000, "typical_moves": reaction},
    )


def write(path: Path, rows: list[Any], bad: str = "") -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + bad, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    classes = [("low", "neutral"), ("medium", "bullish"), ("high", "bearish")]
    train = [news(n, impact=classes[n % 3][0], direction=classes[n % 3][1]) for n in range(30)]
    context = {"pre_return": 0.001, "volatility": 0.002, "typical_move": 0.001}
    train[0] = news(0, request={"context": context})
    train.append({**news(3), "meta": news(3)["meta"] | {"kind": "market", "style": "market_prose"}})
    write(tmp_path / "x.val.jsonl", [news(n, split="val", impact="high") for n in range(40, 50)])
    write(tmp_path / "x.test.jsonl", [release(n, 2.0 + n / 10, 2.5, 5 - n) for n in range(50, 55)])
    return write(tmp_path / "x.jsonl", train)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Another tool's rows, with things in them that a terminal would obey."""
    rows = [
        {
            "instruction": "把[red]句子[/red]译成英文\x1b[31m",
            "input": "\x9b2J你好\x07:smile:",
            "output": "a \x1b]0;t\x07",
        },
        {"instruction": "算", "output": "2", "meta": {"kind": "[red]a\x1b[1m", "style": 7, "event_id": ["x"]}},
    ]
    return write(tmp_path / "foreign.jsonl", rows, bad='{bad\n[1]\n{"instruction":1,"output":"x"}\n\n')


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["dataset", *arguments])
    assert (ended.value.code or 0) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def tokenizer_folder(folder: Path) -> Path:
    """A small real base folder: one token a character, a chat template."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    known = sorted(set("美国7月CPI年率 2.7%，预期 2.8%。 gold XAUUSD 3,345.10  end"))
    tokenizer = Tokenizer(WordLevel({c: i for i, c in enumerate(["<unk>", "<end>", *known])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("(?m)."), "isolated")
    tokenizer.decoder = Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")
    fast.chat_template = "{% for m in messages %}{{ m['role'][0] }}{{ m['content'] }}{% endfor %}" + (
        "{% if add_generation_prompt %}a{% endif %}"
    )
    fast.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return folder


# --- stats ----------------------------------------------------------------------------------------------


def test_stats_counts_rows_labels_context_and_months_per_split(data: Path) -> None:
    figures = describe(read_splits(data))
    assert figures["rows"] == {"train": 31, "val": 10, "test": 5} and figures["events"]["train"] == 30
    assert figures["mix"]["market"] == {"market_prose": {"train": 1, "val": 0, "test": 0}}
    train = figures["labels"]["train"]
    assert train["impact"] == {"low": 11, "medium": 10, "high": 10} and train["balance"]["impact"] == 1.1
    assert (train["with_context"], train["without_context"]) == (1, 30)
    assert train["rows_with_signals"] == 1 and train["signals"] == {"priced_in": 1, "wait_and_see": 0}
    assert figures["labels"]["val"]["balance"]["impact"] is None  # a class that is not there has no ratio
    assert figures["months"] == {
        "2025-08": {"train": 29, "val": 0, "test": 0},
        "2025-09": {"train": 2, "val": 10, "test": 5},
    }


def test_stats_prints_tables_of_80_columns_and_names_each_picture(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tokenizer_folder(tmp_path / "base")
    out, _ = run(capsys, "stats", str(data), "--base", str(base), "--out", str(tmp_path / "p" / "q"))
    tables = [line for line in out.splitlines() if not line.startswith("图片：")]
    assert all(cell_len(line) <= 80 for line in tables) and "\x1b" not in out
    for word in ("市场分析", "训练集", "利空", "预期兑现", "最多/最少", "2025-09", "超过 512", "合计"):
        assert word in out
    names = ["labels_over_time.png", "token_lengths.png", "mix.png", "surprise_vs_reaction.png"]
    assert [line for line in out.splitlines() if line.startswith("图片：")] == [
        f"图片：{tmp_path / 'p' / 'q' / name}" for name in names
    ]
    assert sorted(path.name for path in (tmp_path / "p" / "q").iterdir()) == sorted(names)  # nothing half-written
    assert all((tmp_path / "p" / "q" / name).read_bytes().startswith(_PNG) for name in names)


def test_tokens_are_those_of_the_conversation_with_its_end(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tokenizer_folder(tmp_path / "base")
    out, _ = run(capsys, "stats", str(data), "--base", str(base), "--json")
    figures = json.loads(out)
    row = json.loads(data.read_text(encoding="utf-8").splitlines()[-1])
    letters = len("u") + len(row["instruction"]) + 1 + len(row["input"]) + len("a") + len(row["output"]) + 1
    assert figures["lengths"]["tokens"]["market"]["longest"] == letters
    assert figures["lengths"]["characters"]["market"]["longest"] == letters - 3
    assert [Path(path).is_file() for path in figures["plots"]] == [True] * 4
    assert Path(figures["plots"][0]).parent == data.with_suffix(".stats")


def test_without_a_tokenizer_lengths_are_in_characters_and_it_says_so(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)  # the embedded base's package is not there
    out, _ = run(capsys, "stats", str(data))
    assert "长度按字计" in out and "长度（token" not in out and "character_lengths.png" in out


def test_a_base_that_cannot_be_had_is_an_error_when_it_was_asked_for(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(capsys, "stats", str(data), "--base", "no/such/base", status=1)
    assert "[错误] 找不到基座模型：no/such/base" in err


def test_rows_of_other_tools_are_counted_with_what_they_have(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "stats", str(foreign), "--base", str(tokenizer_folder(foreign.parent / "base")))
    assert "读不懂的行" in out and "\x1b" not in out and "[red]a\\x1b[1m" in out
    assert "没有带时间和标签的行" in out and "没有 meta.reaction" in out
    assert sorted(path.name for path in foreign.with_suffix(".stats").iterdir()) == ["mix.png", "token_lengths.png"]


@pytest.mark.parametrize(
    ("content", "message", "status"),
    [(None, "没有这个文件", 2), ("", "没有任何一行", 1), ("x\n{}\n", "2 行都不是", 1)],
)
def test_a_file_without_rows_is_one_line_of_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str, status: int
) -> None:
    path = tmp_path / "y.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    for command in ("stats", "preview"):
        out, err = run(capsys, command, str(path), status=status)
        assert not out and err.startswith("[错误] ") and message in err and err.count("\n") == 1
    assert not path.with_suffix(".stats").exists()


def test_an_empty_evaluation_split_is_no_error(data: Path) -> None:
    data.with_suffix(".test.jsonl").write_text("", encoding="utf-8")
    assert describe(read_splits(data))["rows"] == {"train": 31, "val": 10, "test": 0}


def test_a_split_can_be_looked_at_by_itself(data: Path) -> None:
    assert describe(read_splits(data.with_suffix(".val.jsonl")))["rows"] == {"val": 10}


def test_balanced_or_drawn_training_rows_are_never_called_natural(data: Path) -> None:
    card = data.with_suffix(".card.json")
    for content, expected in (
        ('{"balance": "both"}', "balanced"),
        ('{"balance": "none", "events": {"train": 99}}', "sampled"),
        ('{"balance": "none", "events": {"train": 30}}', "sampled"),  # one event stands in two rows
        ("broken", "sampled"),
    ):
        card.write_text(content, encoding="utf-8")
        assert unnatural_training(read_splits(data)) == expected
    write(data, [news(n) for n in range(30)])
    assert unnatural_training(read_splits(data)) is None


# --- pictures -------------------------------------------------------------------------------------------


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
    assert chinese_font() is None
    with Words() as say:
        assert say("中", "English") == "English"


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


# --- preview --------------------------------------------------------------------------------------------


def test_preview_shows_the_first_rows_with_labels_in_chinese(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "preview", str(data), "-n", "2")
    assert "第 1 / 31 行" in out and "第 2 / 31 行" in out and "第 3 / 31 行" not in out and not err
    assert "影响 低  方向 中性  信号 预期兑现" in out and "影响 中  方向 利好  信号 无行情" in out
    assert "消息：第0条自拟消息" in out and "事件 e0" in out and "自拟的理由" in out
    assert {cell_len(line) for line in out.splitlines()} == {80} and "\x1b" not in out


def test_preview_by_kind_split_and_seed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "第 31 / 31 行" in run(capsys, "preview", str(data), "--kind", "market")[0]
    assert "x.val.jsonl" in run(capsys, "preview", str(data), "--split", "val", "-n", "1")[0]
    first, again, other = (run(capsys, "preview", str(data), "--seed", seed)[0] for seed in ("1", "1", "2"))
    assert first == again != other
    _, err = run(capsys, "preview", str(data), "--split", "val", "--kind", "report", status=2)
    assert "没有“财报问答”类型的行（有：新闻 10 行）" in err
    data.with_suffix(".val.jsonl").unlink()
    assert "旁边没有这个划分" in run(capsys, "preview", str(data), "--split", "val", status=2)[1]


def test_more_rows_than_there_are_is_all_of_them(data: Path) -> None:
    rows, _ = read_rows(data)
    assert len(choose(rows, 1000)) == len(choose(rows, 1000, seed=1)) == 31


def test_preview_counts_tokens_with_a_base(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tokenizer_folder(tmp_path / "base")
    assert "token " in run(capsys, "preview", str(data), "-n", "1", "--base", str(base))[0]


@pytest.mark.parametrize("switch", ["colour", "--no-color", "NO_COLOR"])
def test_text_of_rows_is_never_obeyed_by_the_terminal(
    foreign: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if switch == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    out, err = run(capsys, "preview", str(foreign), *([switch] if switch == "--no-color" else []))
    assert ("\x1b[" in out) == (switch == "colour")
    assert "\x1b]" not in out and "\x9b" not in out and "\x07" not in out and "\x1b[2J" not in out
    for text in ("[red]句子[/red]", "\\x1b[31m", "\\x9b2J你好\\x07:smile:", "a \\x1b]0;t\\x07"):
        assert text in out
    assert "另有 3 行" in err


def test_chinese_wraps_at_the_width_and_never_begins_a_line_with_a_closing_mark() -> None:
    text = "金价在数据公布之前已经上涨了不少，市场普遍预期《会议纪要》偏鸽。XAUUSD 3,345.10 to go, 结束（完）" * 3
    for width in (10, 21, 40):
        lines = wrap(Text(text), width).plain.split("\n")
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert not any(line.startswith(tuple("，。》）")) for line in lines)
        assert any("3,345.10" in line for line in lines)
    assert wrap(Text("字" * 10), 8).plain == "字字字字\n字字字字\n字字"


def test_invisible_and_control_characters_are_spelled_out() -> None:
    assert visible("a\x00\x1b\x7f\x9f\u202e\u200b\ufeff\r") == "a\\x00\\x1b\\x7f\\x9f\\u202e\\u200b\\ufeff\\x0d"
    assert visible("一\t二\r\n三\u3000四") == "一    二\n三\u3000四"
    assert visible("长" * 5000).endswith("…（还有 1,000 字）")
