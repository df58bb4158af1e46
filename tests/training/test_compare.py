"""`compare` over HTTP: an app with a base and an adapter, and the hosted API's stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fintunnel.errors import AuthenticationError, ConfigurationError
from fintunnel_server.engine import Field, Scores
from fintunnel_training.comparison.answers import AnswerFile
from fintunnel_training.comparison.cases import CaseFile, cases_of, read_cases
from fintunnel_training.comparison.compare import ANSWERS, Found, Options, compare
from fintunnel_training.comparison.result import Measure, System
from fintunnel_training.comparison.systems import Choice
from fintunnel_training.errors import DataError, OptionError

from tests.client.deepseek_stand_in import KEY, DeepSeekStandIn, deepseek_stand_in
from tests.instant_engine import InstantConversation, InstantEngine
from tests.live_app import LiveApp, run_app
from tests.server.upstream_stand_in import Upstream, upstream_server
from tests.training.comparison_rows import news, report, write, write_splits

pytestmark = pytest.mark.usefixtures("key")


@pytest.fixture
def training(tmp_path: Path) -> Path:
    return write_splits(tmp_path)


@pytest.fixture
def cases(training: Path) -> CaseFile:
    return read_cases(training.with_name("i.test.jsonl"))


@pytest.fixture
def engine() -> InstantEngine:
    return InstantEngine(weights={"low": 3.0, "neutral": 2.0}, text="美元走强，金价承压。")


@pytest.fixture
def app(engine: InstantEngine) -> Iterator[LiveApp]:
    with run_app(engine, api_key="right-key") as live:
        yield live


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeepSeekStandIn]:
    with deepseek_stand_in() as state:
        monkeypatch.setenv("DEEPSEEK_BASE_URL", state.url)
        monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
        yield state


def options(tmp_path: Path, choice: Choice, **changes: object) -> Options:
    given = {"texts": 8, "resamples": 1000, "seeds": 2, "training": tmp_path / "i.jsonl"} | changes
    return Options(out=tmp_path / "out", choice=choice, **given)  # type: ignore[arg-type]


def system(found: Found, name: str) -> System:
    return next(each for each in found.result.systems if each.name == name)


def measure(found: Found, group: str, name: str) -> Measure:
    return next(each for each in found.result.measures if (each.group, each.name) == (group, name))


def test_a_running_servers_models_are_compared_with_each_other_and_with_baselines(
    app: LiveApp, cases: CaseFile, tmp_path: Path
) -> None:
    found = compare(cases, options(tmp_path, Choice(url=app.url)))
    assert found.failures == {}
    assert [(each.name, each.kind) for each in found.result.systems] == [
        ("base", "base"),
        ("tuned", "tuned"),
        ("majority", "baseline"),
        ("prior", "baseline"),
        ("tfidf_svc", "baseline"),
        ("context_regression", "baseline"),
    ]
    tuned = system(found, "tuned")
    assert (tuned.asked, tuned.answered, tuned.failed) == (45 + 6, 45 + 6, 0)
    data = found.result.data
    assert (data.news, data.labelled, data.explained, data.reports, data.days) == (45, 45, 8, 6, 16)
    assert data.classes["impact"] == {"low": 15, "medium": 15, "high": 15} and data.training_rows == 60
    accuracy = measure(found, "impact", "accuracy").systems
    assert accuracy["tuned"].value == pytest.approx(1 / 3)  # it always says "low"
    assert accuracy["context_regression"].value == pytest.approx(1, abs=0.1)
    assert measure(found, "form", "valid").systems["tuned"].value == 1
    assert measure(found, "form", "valid_free").systems["tuned"].value == 0  # its chat answers in prose
    assert measure(found, "reports", "figures_right").systems["tuned"].value == 0
    assert "majority" not in measure(found, "reports", "citations_right").systems  # training has no report rows
    assert {"milliseconds", "completion_tokens"} <= {each.name for each in found.result.measures}
    against = {(each.name, each.against) for each in found.result.differences if each.group == "impact"}
    assert {("auc", "base"), ("auc", "best_baseline")} <= against
    worse = next(
        each for each in found.result.differences if (each.name, each.against) == ("accuracy", "best_baseline")
    )
    assert worse.verdict == "worse" and worse.second == "context_regression"
    assert [each.chosen for each in found.result.examples].count("drawn") == 14  # 8 news, 6 questions
    assert {answer.system for each in found.result.examples for answer in each.answers} == {"base", "tuned"}


def test_citing_what_training_cites_most_is_the_baseline_of_citations(
    app: LiveApp, cases: CaseFile, training: Path, tmp_path: Path
) -> None:
    write(training, [news(n, "train") for n in range(60)] + [report(n, "train") for n in (1, 2, 3)])
    found = compare(cases, options(tmp_path, Choice(url=app.url)))
    usual = measure(found, "reports", "citations_right").systems["majority"]
    assert (usual.value, usual.rows) == (1, 4)  # of six questions two have nothing to cite
    against = [each for each in found.result.differences if each.name == "citations_right"]
    assert [each.second for each in against] == ["base", "majority"]


def test_what_is_stored_is_not_asked_again_and_a_change_of_plan_asks_only_the_rest(
    app: LiveApp, engine: InstantEngine, cases: CaseFile, tmp_path: Path
) -> None:
    first = compare(cases, options(tmp_path, Choice(url=app.url)))
    engine.calls.clear()
    again = compare(cases, options(tmp_path, Choice(url=app.url)))
    assert engine.calls == []
    changing = {"created_at", "took_seconds"}
    assert again.result.model_dump(exclude=changing) == first.result.model_dump(exclude=changing)
    compare(cases, options(tmp_path, Choice(url=app.url), texts=9))
    asked = {prefix for prefix, _ in engine.calls}
    assert asked and len(engine.calls) < 60


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


def test_a_report_of_what_is_stored_needs_no_server(app: LiveApp, cases: CaseFile, tmp_path: Path) -> None:
    compare(cases, options(tmp_path, Choice(url=app.url)))
    stored = compare(cases, options(tmp_path, Choice()))  # the report alone
    assert system(stored, "tuned").answered == 51 and stored.failures == {}
    with pytest.raises(OptionError, match="没有可比的系统"):
        compare(cases, Options(out=tmp_path / "empty"))


def test_the_hosted_api_is_asked_with_the_same_cases(
    app: LiveApp, hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    found = compare(cases, options(tmp_path, Choice(url=app.url, hosted=True), rows=12, texts=3))
    api = system(found, "deepseek-flash")
    assert (api.kind, api.asked, api.answered) == ("hosted", 15, 15)
    assert measure(found, "form", "valid_free").systems["deepseek-flash"].value == 1
    assert any("按时间均匀取 12 条" in note for note, _ in found.result.notes)
    assert all(body["model"] == "deepseek-flash" for body in hosted.bodies)


def test_a_hosted_api_that_refuses_is_told_and_the_others_are_compared(
    app: LiveApp, hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    hosted.balance = False
    found = compare(cases, options(tmp_path, Choice(url=app.url, hosted=True)))
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


def test_a_wrong_key_is_told(app: LiveApp, cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "wrong-key")
    with pytest.raises(AuthenticationError):
        compare(cases, options(tmp_path, Choice(url=app.url)))


def test_a_fallback_never_answers_in_a_models_place(
    app: LiveApp, hosted: DeepSeekStandIn, engine: InstantEngine, cases: CaseFile, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert hosted.balance  # it would answer
    monkeypatch.setenv("FINTUNNEL_FALLBACK", "deepseek")
    monkeypatch.setenv("FINTUNNEL_MAX_RETRIES", "0")
    engine.failure = RuntimeError("broken")
    with pytest.raises(DataError, match="没有得到任何回答"):
        compare(cases, options(tmp_path, Choice(url=app.url), rows=5, texts=2))
    with AnswerFile(tmp_path / "out" / ANSWERS) as stored:
        for each in stored.systems():
            assert all(answer.failure for answer in stored.answers(each.fingerprint, "text").values())


def test_cases_without_labels_give_form_and_answers_only(app: LiveApp, tmp_path: Path) -> None:
    found = compare(cases_of(["美联储宣布加息25个基点", "非农不及预期"]), options(tmp_path, Choice(url=app.url)))
    assert {each.group for each in found.result.measures} == {"form", "speed"}
    assert [each.chosen for each in found.result.examples] == ["asked", "asked"]
    assert any("没有标签" in note for note, _ in found.result.notes)
    assert not any(each.kind == "baseline" for each in found.result.systems)


def test_one_class_and_few_rows_are_said_in_the_notes(app: LiveApp, tmp_path: Path) -> None:
    rows = [{"text": f"第{n}条", "impact": "high", "direction": "bullish"} for n in range(12)]
    file = read_cases(write(tmp_path / "mine.jsonl", rows))
    found = compare(file, options(tmp_path, Choice(url=app.url), training=None))
    notes = "\n".join(chinese for chinese, _ in found.result.notes)
    assert (
        "影响程度只出现了一个类别（high）" in notes and "没有训练集，所以没有基线" in notes and "没有发布时间" in notes
    )
    accuracy = measure(found, "impact", "accuracy").systems["tuned"]
    assert accuracy.low is None and "少于 30 条" in str(accuracy.why_not)
    assert all(each.verdict == "unknown" for each in found.result.differences)


def test_two_machines_answers_make_one_report(
    app: LiveApp, hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    there = Options(out=tmp_path / "colab", choice=Choice(url=app.url), texts=4, resamples=1000, seeds=1)
    compare(cases, there)
    here = options(tmp_path, Choice(hosted=True), texts=4, join=[tmp_path / "colab" / ANSWERS])
    joined = compare(cases, here)
    assert [each.name for each in joined.result.systems][:3] == ["base", "tuned", "deepseek-flash"]
    assert all(each.answered == each.asked for each in joined.result.systems if each.kind != "baseline")
    assert len(hosted.bodies) > 0 and any("合并了 answers.sqlite" in note for note, _ in joined.result.notes)


def test_a_model_behind_another_server_is_compared_with_its_base(cases: CaseFile, tmp_path: Path) -> None:
    """Through a `fintunnel serve --upstream` of its own; news only, which that server's table can answer."""
    with upstream_server(Upstream()) as upstream:
        choice = Choice(upstream=(upstream.url, "tuned", "plain"))
        file = CaseFile(None, None, [case for case in cases.cases if case.impact is not None][:6])
        found = compare(file, options(tmp_path, choice, texts=2))
    assert found.failures == {}
    assert [(each.name, each.kind, each.answered) for each in found.result.systems[:2]] == [
        ("base", "base", 6),
        ("tuned", "tuned", 6),
    ]
    assert measure(found, "impact", "recall_high").systems["tuned"].value == 1  # it says "high" of everything


def test_answers_that_cannot_be_kept_end_the_run(
    app: LiveApp, engine: InstantEngine, cases: CaseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no fault of the model's, and the next system is not asked for what would be lost as well."""

    def full(*_: object) -> None:
        raise DataError("回答文件 answers.sqlite 无法使用：读写出错。请检查磁盘空间。")

    monkeypatch.setattr(AnswerFile, "put", full)
    with pytest.raises(DataError, match="^回答文件"):
        compare(cases, options(tmp_path, Choice(url=app.url)))
    asked_of_tuned = [prefix for prefix, adapter in engine.calls if adapter == "tuned"]
    assert len(asked_of_tuned) < 20  # the app's own self-test, not 51 questions
