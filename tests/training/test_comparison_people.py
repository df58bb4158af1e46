from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fintunnel.errors import ConfigurationError
from fintunnel.rating_file import RatedAnswer, Rating, RatingFile, RatingPair, Verdict
from fintunnel.wire import NewsRequest
from fintunnel_training.comparison.people import people_of

SEEDS = (0, 1)
PAIRS = [
    RatingPair.of(NewsRequest(text=f"第{n}条"), "tuned", "base", RatedAnswer(text="甲"), RatedAnswer(text="乙"))
    for n in range(40)
]

KEYS = {pair.key for pair in PAIRS}


def rate(
    path: Path, rater: str, verdicts: Sequence[Verdict], scores: Sequence[int] = (), *, hour: int = 1, first: int = 0
) -> Path:
    """One rating a pair, from the pair `first` on. `scores`: of usefulness, of the first system's answers."""
    with RatingFile(path) as file:
        file.add_pairs(PAIRS)
        for number, verdict in enumerate(verdicts):
            file.rate(
                Rating(
                    pair=PAIRS[first + number].key,
                    rater=rater,
                    verdict=verdict,
                    scores_first={"usefulness": scores[number]} if scores else {},
                    seconds=5,
                    at=datetime(2025, 11, 1, hour, tzinfo=UTC),
                )
            )
    return path


def test_the_win_rate_counts_equal_as_half_and_has_an_interval_over_pairs(tmp_path: Path) -> None:
    kinds: tuple[Verdict, ...] = ("first", "first", "first", "equal", "second")
    verdicts = [verdict for verdict in kinds for _ in range(8)]
    people = people_of([rate(tmp_path / "r.sqlite", "王", verdicts)], KEYS, SEEDS, 1000)
    assert people is not None and (people.first, people.second) == ("tuned", "base")
    assert (people.pairs, people.ratings) == (40, 40)
    assert people.win_rate.value == pytest.approx(0.7)
    assert people.win_rate.low is not None and people.win_rate.high is not None
    assert 0.5 < people.win_rate.low < 0.7 < people.win_rate.high < 0.85
    [judge] = people.raters
    assert (judge.better, judge.equal, judge.worse) == (24, 8, 8)
    assert people.kappa.value is None and "两个人" in str(people.kappa.why_not)


def test_few_pairs_have_no_interval(tmp_path: Path) -> None:
    people = people_of([rate(tmp_path / "r.sqlite", "王", ["first", "second"])], KEYS, SEEDS, 1000)
    assert people is not None and people.win_rate.value == 0.5 and people.win_rate.low is None
    assert "少于 30 对" in str(people.win_rate.why_not)


def test_raters_of_two_machines_agree_as_much_as_kappa_says(tmp_path: Path) -> None:
    one: list[Verdict] = ["first", "first", "second", "second", "equal", "first"]
    other: list[Verdict] = ["first", "first", "second", "first", "equal", "second"]
    here = rate(tmp_path / "here.sqlite", "王", one, [5, 4, 3, 2, 1, 1])
    there = rate(tmp_path / "there.sqlite", "李", other, [5, 4, 3, 2, 1, 2])
    people = people_of([here, there], KEYS, SEEDS, 1000)
    assert people is not None and [judge.name for judge in people.raters] == ["李", "王"]
    assert people.kappa.value == pytest.approx((4 / 6 - 14 / 36) / (1 - 14 / 36)) and people.kappa.rows == 6
    assert people.kappa_scales["usefulness"] is not None and people.kappa_scales["usefulness"] > 0.8
    assert people.kappa_scales["wording"] is None
    assert people.scales["usefulness"]["tuned"].value == pytest.approx((16 + 17) / 12)
    assert people.scales["usefulness"]["base"].value is None


def test_what_a_rater_said_last_counts(tmp_path: Path) -> None:
    old = rate(tmp_path / "old.sqlite", "王", ["second"] * 3, hour=1)
    new = rate(tmp_path / "new.sqlite", "王", ["first"] * 3, hour=2)
    for files in ([old, new], [new, old]):
        people = people_of(files, KEYS, SEEDS, 1000)
        assert people is not None and people.ratings == 3 and people.win_rate.value == 1


def test_raters_who_share_too_little_or_never_differ_give_no_kappa(tmp_path: Path) -> None:
    apart = tmp_path / "apart.sqlite"
    rate(apart, "王", ["first"] * 4)
    rate(apart, "李", ["first"] * 4, first=3)  # one pair in common
    people = people_of([apart], KEYS, SEEDS, 1000)
    assert people is not None and people.kappa.value is None
    alike = tmp_path / "alike.sqlite"
    rate(alike, "王", ["first"] * 4)
    rate(alike, "李", ["first"] * 4)
    people = people_of([alike], KEYS, SEEDS, 1000)
    assert people is not None and people.kappa.value is None


def test_what_was_said_of_other_answers_does_not_count(tmp_path: Path) -> None:
    """The adapter was trained again: its answers are others, and so are the pairs."""
    rated = rate(tmp_path / "r.sqlite", "王", ["first"] * 40)
    people = people_of([rated], {pair.key for pair in PAIRS[:10]}, SEEDS, 1000)
    assert people is not None and people.ratings == 10
    assert people_of([rated], {"0" * 64}, SEEDS, 1000) is None


def test_nobody_has_rated(tmp_path: Path) -> None:
    assert people_of([], KEYS, SEEDS, 1000) is None
    assert people_of([rate(tmp_path / "r.sqlite", "王", [])], KEYS, SEEDS, 1000) is None


def test_a_file_that_holds_no_ratings_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="没有评分文件"):
        people_of([tmp_path / "none.sqlite"], KEYS, SEEDS, 1000)
