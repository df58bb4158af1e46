from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fintunnel.chinese import SCALES_ZH
from fintunnel.errors import ConfigurationError
from fintunnel.rating_file import SCALES, RatedAnswer, Rating, RatingFile, RatingPair, Verdict
from fintunnel.wire import NewsRequest, Passage, ReportRequest
from pydantic import ValidationError

NOON = datetime(2026, 5, 8, 12, 0, tzinfo=UTC)


def news_pair(number: int) -> RatingPair:
    answers = [RatedAnswer(lines=["影响：高"], text=f"回答{number}之{side}") for side in (1, 2)]
    return RatingPair.of(NewsRequest(text=f"快讯{number}"), "tuned", "base", *answers)


def report_pair() -> RatingPair:
    request = ReportRequest(question="为什么增长？", passages=[Passage(text="订单增加。", source="年报", page=3)])
    return RatingPair.of(request, "tuned", "hosted", RatedAnswer(lines=["[1]"], text="订单"), RatedAnswer(text=""))


def rating(pair: RatingPair, rater: str = "张三", verdict: Verdict = "first", minutes: int = 0) -> Rating:
    return Rating(pair=pair.key, rater=rater, verdict=verdict, seconds=12.5, at=NOON + timedelta(minutes=minutes))


def test_what_was_written_is_read_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "ratings.sqlite"
    pairs = [news_pair(1), report_pair(), news_pair(2)]
    scored = rating(pairs[0]).model_copy(update={"scores_first": {"wording": 5, "usefulness": 1}})
    with RatingFile(path) as file:
        assert file.add_pairs(pairs) == 3
        file.rate(scored)
        seed = file.seed
    with RatingFile(path, create=False) as file:
        assert file.pairs() == pairs and file.keys() == [pair.key for pair in pairs]
        assert file.pair(pairs[1].key) == pairs[1] and file.pair("0" * 64) is None
        assert file.ratings() == [scored] and file.seed == seed
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ratings.sqlite"]


def test_a_pair_is_there_once_and_keeps_its_place(tmp_path: Path) -> None:
    first, second, third = news_pair(1), news_pair(2), news_pair(3)
    with RatingFile(tmp_path / "r.sqlite") as file:
        assert file.add_pairs([second, first]) == 2
        file.rate(rating(second))
        assert file.add_pairs([first, second, third, third]) == 1
        assert file.keys() == [second.key, first.key, third.key]
        assert file.ratings() == [rating(second)]


def test_pairs_of_other_answers_are_hidden_and_what_was_said_of_them_stays(tmp_path: Path) -> None:
    old, kept, new = news_pair(1), news_pair(2), news_pair(3)
    with RatingFile(tmp_path / "r.sqlite") as file:
        file.add_pairs([old, kept])
        file.rate(rating(old))
        file.show_only([kept, new])
        assert file.keys() == [kept.key, new.key] and len(file.pairs()) == 3
        assert file.ratings() == [rating(old)]
        file.show_only([old])
        assert file.keys() == [old.key]


def test_a_key_is_of_everything_in_the_pair() -> None:
    request, one, two = NewsRequest(text="快讯"), RatedAnswer(text="一"), RatedAnswer(text="二")
    pairs = [
        RatingPair.of(request, "a", "b", one, two),
        RatingPair.of(NewsRequest(text="快讯", importance=3), "a", "b", one, two),
        RatingPair.of(request, "b", "a", one, two),
        RatingPair.of(request, "a", "b", two, one),
        RatingPair.of(request, "a", "b", RatedAnswer(lines=["一"], text=""), two),
    ]
    assert len({pair.key for pair in pairs}) == 5
    assert RatingPair.of(request, "a", "b", one, two) == pairs[0]


def test_a_second_rating_replaces_that_raters_first(tmp_path: Path) -> None:
    pair = news_pair(1)
    with RatingFile(tmp_path / "r.sqlite") as file:
        file.add_pairs([pair])
        file.rate(rating(pair, "张三", "first"))
        file.rate(rating(pair, "李四", "second", minutes=1))
        file.rate(rating(pair, "张三", "equal", minutes=2))
        assert [(each.rater, each.verdict) for each in file.ratings()] == [("李四", "second"), ("张三", "equal")]
        assert [each.verdict for each in file.ratings("张三")] == ["equal"] and file.ratings("王五") == []
        with pytest.raises(KeyError):
            file.rate(rating(news_pair(2)))
        assert len(file.ratings()) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"rater": " \u3000 "},
        {"rater": "甲" * 41},
        {"rater": "张\u200b三"},
        {"rater": "张\n三"},
        {"verdict": "left"},
        {"scores_first": {"wording": 0}},
        {"scores_first": {"wording": 6}},
        {"scores_first": {"wording": True}},
        {"scores_second": {"beauty": 3}},
        {"seconds": -1},
        {"at": datetime(2026, 5, 8)},  # nobody knows where
    ],
)
def test_ratings_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    good = rating(news_pair(1)).model_dump()
    assert Rating.model_validate(good | {"rater": "  张 三\u3000"}).rater == "张 三"
    with pytest.raises(ValidationError):
        Rating.model_validate(good | change)


def test_every_scale_has_a_name() -> None:
    assert set(SCALES_ZH) == set(SCALES)


def test_several_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    pairs = [news_pair(number) for number in range(20)]
    start = threading.Barrier(4)

    def one(name: str) -> None:
        start.wait()
        with RatingFile(path) as file:  # its own, as another process would have
            file.add_pairs(pairs)
            for pair in pairs:
                file.rate(rating(pair, name))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, "甲乙丙丁"))
    with RatingFile(path) as file:
        assert file.pairs() == pairs and len(file.ratings()) == 80

        def again(pair: RatingPair) -> int:
            file.rate(rating(pair, "戊"))
            return len(file.ratings())

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(again, pairs))
        assert len(file.ratings()) == 100


def refused(path: Path, *, create: bool = True) -> str:
    with pytest.raises(ConfigurationError) as caught:
        RatingFile(path, create=create)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and caught.value.advice
    return message


def test_a_file_that_is_missing_is_made_only_where_that_was_meant(tmp_path: Path) -> None:
    assert "没有评分文件" in refused(tmp_path / "r.sqlite", create=False)
    assert not (tmp_path / "r.sqlite").exists()
    assert "打不开" in refused(tmp_path / "nowhere" / "r.sqlite")
    assert "打不开" in refused(tmp_path)


def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "notes.txt", tmp_path / "finance.db", tmp_path / "newer.sqlite"
    text.write_text("不是数据库" * 100, encoding="utf-8")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE events (id)")
    connection.close()
    RatingFile(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = [path.read_bytes() for path in (text, other, newer)]
    assert "不是评分文件" in refused(text)
    assert "不是评分文件" in refused(other)
    assert "更新的版本" in refused(newer)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert "不是评分文件" in refused(empty, create=False)
    assert [path.read_bytes() for path in (text, other, newer)] == before


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with RatingFile(path) as file:
        file.add_pairs([news_pair(number) for number in range(200)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 5000] = b"\xff" * 5000
    path.write_bytes(content)
    assert "已损坏" in refused(path)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE pairs SET request = '{}'", "UPDATE pairs SET first_answer = '{'", "UPDATE ratings SET verdict = 'left'"],
)
def test_rows_that_make_no_sense_are_damage(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "r.sqlite"
    with RatingFile(path) as file:
        file.add_pairs([news_pair(1)])
        file.rate(rating(news_pair(1)))
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
        with pytest.raises(ConfigurationError, match="已损坏"):
            file.pairs(), file.ratings()


@pytest.mark.skipif(os.name == "nt", reason="Windows moves no file that is open")
def test_a_file_that_was_moved_away_takes_no_rating(tmp_path: Path) -> None:
    """The page would say that it is kept, and it would be gone with the last handle."""
    path = tmp_path / "r.sqlite"
    with RatingFile(path) as file:
        file.add_pairs([news_pair(1)])
        path.unlink()
        with pytest.raises(ConfigurationError, match="写不进去"):
            file.rate(rating(news_pair(1)))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everything")
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    RatingFile(path).close()
    path.chmod(0o400)
    assert "写不进去" in refused(path)


def test_a_file_that_somebody_else_holds_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel.rating_file._BUSY_SECONDS", 0.05)
    path = tmp_path / "r.sqlite"
    RatingFile(path).close()
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")  # it may be read, but who opens it means to write
    try:
        assert "占用" in refused(path)
    finally:
        other.close()
    RatingFile(path).close()


def test_a_killed_writer_leaves_whole_ratings(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with RatingFile(path) as file:
        file.add_pairs([news_pair(1)])
        file.rate(rating(news_pair(1)))
    code = (
        "import os, sys; from pathlib import Path; from fintunnel.rating_file import RatingFile\n"
        "with RatingFile(Path(sys.argv[1]))._writing() as c:\n"
        "    c.execute('DELETE FROM ratings'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60).returncode == 9
    with RatingFile(path) as file:
        assert file.ratings() == [rating(news_pair(1))]
