"""Systems that fail half way, refuse, answer nonsense or go away, and answers that cannot be kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from fintunnel.errors import AuthenticationError, ConfigurationError
from fintunnel_server.engine import Field, Scores
from fintunnel_training.comparison.answers import AnswerFile
from fintunnel_training.comparison.cases import CaseFile
from fintunnel_training.comparison.compare import ANSWERS, compare
from fintunnel_training.comparison.systems import Choice
from fintunnel_training.errors import DataError

from tests.client.deepseek_stand_in import KEY, DeepSeekStandIn
from tests.instant_engine import InstantConversation, InstantEngine
from tests.live_app import LiveApp, run_app
from tests.training.comparison_runs import measure, options, system

pytestmark = pytest.mark.usefixtures("key")


def test_a_system_that_fails_half_way_is_told_and_goes_on_the_next_time(
    engine: InstantEngine, cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINTUNNEL_MAX_RETRIES", "0")
    scored = 0
    original = InstantConversation.score

    async def score(self: InstantConversation, fields: Sequence[Field]) -> list[Scores]:
        nonlocal scored
        scored += 1
        if self.adapter == "tuned" and scored > 120:
            raise RuntimeError("the model broke")
        return await original(self, fields)

    monkeypatch.setattr(InstantConversation, "score", score)
    with run_app(engine, api_key="right-key") as app:
        found = compare(cases, options(tmp_path, Choice(url=app.url)))
        broken = system(found, "tuned")
        assert 0 < broken.answered < 51 and broken.failure and found.failures.keys() == {"tuned"}
        assert any("tuned 没有问完" in note for note, _ in found.result.notes)
        apart = next(each for each in found.result.differences if each.name == "brier" and each.against == "base")
        assert 0 < apart.rows < 45  # over what both answered
        monkeypatch.setattr(InstantConversation, "score", original)
        healed = compare(cases, options(tmp_path, Choice(url=app.url)))
        assert healed.failures == {} and system(healed, "tuned").answered == 51


def test_a_server_that_goes_away_is_told_and_not_asked_for_everything_that_is_left(
    engine: InstantEngine, cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINTUNNEL_MAX_RETRIES", "0")
    original = InstantConversation.score
    with run_app(engine, api_key="right-key") as app:

        async def score(self: InstantConversation, fields: Sequence[Field]) -> list[Scores]:
            if self.adapter == "tuned":
                app.server.should_exit = app.server.force_exit = True
                raise RuntimeError("the machine is gone")
            return await original(self, fields)

        monkeypatch.setattr(InstantConversation, "score", score)
        found = compare(cases, options(tmp_path, Choice(url=app.url)))
    assert system(found, "base").answered == 51
    gone = system(found, "tuned")
    assert gone.answered == 0 and gone.failure  # refused or broken off, whichever was faster
    assert any("tuned 没有问完" in note for note, _ in found.result.notes)
    assert "tuned" not in measure(found, "form", "valid").systems  # what was not asked is no answer of bad form


def test_a_hosted_api_that_refuses_is_told_and_the_others_are_compared(
    live_app: LiveApp, hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    hosted.balance = False
    found = compare(cases, options(tmp_path, Choice(url=live_app.url, hosted=True)))
    refused = system(found, "deepseek-flash")
    assert refused.answered == 0 and refused.failure and "余额" in refused.failure
    assert len(hosted.bodies) < 15  # it is not asked again and again
    assert system(found, "tuned").answered == 51
    assert "deepseek-flash" not in measure(found, "impact", "accuracy").systems
    assert KEY not in found.result.model_dump_json()


def test_an_answer_that_is_none_counts_and_stops_nothing(
    hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    """The very first ones are malformed, both times that each is asked."""
    hosted.garbled = 60
    found = compare(cases, options(tmp_path, Choice(hosted=True)))
    api = system(found, "deepseek-flash")
    assert found.failures == {} and 0 < api.failed <= 30 and api.answered == 51 - api.failed
    valid = measure(found, "form", "valid").systems["deepseek-flash"]
    assert valid.value == pytest.approx(api.answered / 51)
    asked = len(hosted.bodies)
    again = compare(cases, options(tmp_path, Choice(hosted=True)))
    assert len(hosted.bodies) == asked and system(again, "deepseek-flash").failed == api.failed


def test_a_balance_that_runs_out_half_way_says_nothing_of_the_form(
    hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    hosted.answers_left = 20
    found = compare(cases, options(tmp_path, Choice(hosted=True)))
    api = system(found, "deepseek-flash")
    assert 0 < api.answered < 51 and "余额" in str(api.failure)
    assert measure(found, "form", "valid").systems["deepseek-flash"].value == 1
    hosted.answers_left = None
    assert system(compare(cases, options(tmp_path, Choice(hosted=True))), "deepseek-flash").answered == 51


def test_nothing_but_refusals_is_no_report(hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path) -> None:
    hosted.balance = False
    with pytest.raises(DataError, match="没有得到任何回答.*余额"):
        compare(cases, options(tmp_path, Choice(hosted=True)))


def test_a_missing_key_is_told_before_anything_is_asked(
    cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="DEEPSEEK_API_KEY"):
        compare(cases, options(tmp_path, Choice(hosted=True)))
    assert not (tmp_path / "out").exists()


def test_a_wrong_key_is_told(
    live_app: LiveApp, cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "wrong-key")
    with pytest.raises(AuthenticationError):
        compare(cases, options(tmp_path, Choice(url=live_app.url)))


def test_a_fallback_never_answers_in_a_models_place(
    live_app: LiveApp, hosted: DeepSeekStandIn, engine: InstantEngine, cases: CaseFile, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert hosted.balance  # it would answer
    monkeypatch.setenv("FINTUNNEL_FALLBACK", "deepseek")
    monkeypatch.setenv("FINTUNNEL_MAX_RETRIES", "0")
    engine.failure = RuntimeError("broken")
    with pytest.raises(DataError, match="没有得到任何回答"):
        compare(cases, options(tmp_path, Choice(url=live_app.url), rows=5, texts=2))
    with AnswerFile(tmp_path / "out" / ANSWERS) as stored:
        for each in stored.systems():
            assert all(answer.failure for answer in stored.answers(each.fingerprint, "text").values())


def test_answers_that_cannot_be_kept_end_the_run(
    live_app: LiveApp, engine: InstantEngine, cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no fault of the model's, and the next system is not asked for what would be lost as well."""

    def full(*_: object) -> None:
        raise DataError("回答文件 answers.sqlite 无法使用：读写出错。请检查磁盘空间。")

    monkeypatch.setattr(AnswerFile, "put", full)
    with pytest.raises(DataError, match="^回答文件"):
        compare(cases, options(tmp_path, Choice(url=live_app.url)))
    asked_of_tuned = [prefix for prefix, adapter in engine.calls if adapter == "tuned"]
    assert len(asked_of_tuned) < 20  # the app's own self-test, not 51 questions
