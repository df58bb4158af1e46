"""`compare` over HTTP: an app with a base and an adapter, another server behind it, the hosted API's stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.comparison.cases import CaseFile, cases_of, read_cases
from fintunnel_training.comparison.compare import ANSWERS, Options, compare
from fintunnel_training.comparison.systems import Choice
from fintunnel_training.errors import OptionError

from tests.client.deepseek_stand_in import DeepSeekStandIn
from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp
from tests.server.upstream_stand_in import Upstream, upstream_server
from tests.training.comparison_rows import news, report, write
from tests.training.comparison_runs import measure, options, system

pytestmark = pytest.mark.usefixtures("key")


def test_a_running_servers_models_are_compared_with_each_other_and_with_baselines(
    live_app: LiveApp, cases: CaseFile, tmp_path: Path
) -> None:
    found = compare(cases, options(tmp_path, Choice(url=live_app.url)))
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
    live_app: LiveApp, cases: CaseFile, training: Path, tmp_path: Path
) -> None:
    write(training, [news(n, "train") for n in range(60)] + [report(n, "train") for n in (1, 2, 3)])
    found = compare(cases, options(tmp_path, Choice(url=live_app.url)))
    usual = measure(found, "reports", "citations_right").systems["majority"]
    assert (usual.value, usual.rows) == (1, 4)  # of six questions two have nothing to cite
    against = [each for each in found.result.differences if each.name == "citations_right"]
    assert [each.second for each in against] == ["base", "majority"]


def test_what_is_stored_is_not_asked_again_and_a_change_of_plan_asks_only_the_rest(
    live_app: LiveApp, engine: InstantEngine, cases: CaseFile, tmp_path: Path
) -> None:
    first = compare(cases, options(tmp_path, Choice(url=live_app.url)))
    engine.calls.clear()
    again = compare(cases, options(tmp_path, Choice(url=live_app.url)))
    assert engine.calls == []
    changing = {"created_at", "took_seconds"}
    assert again.result.model_dump(exclude=changing) == first.result.model_dump(exclude=changing)
    compare(cases, options(tmp_path, Choice(url=live_app.url), texts=9))
    asked = {prefix for prefix, _ in engine.calls}
    assert asked and len(engine.calls) < 60


def test_a_report_of_what_is_stored_needs_no_server(live_app: LiveApp, cases: CaseFile, tmp_path: Path) -> None:
    compare(cases, options(tmp_path, Choice(url=live_app.url)))
    stored = compare(cases, options(tmp_path, Choice()))  # the report alone
    assert system(stored, "tuned").answered == 51 and stored.failures == {}
    with pytest.raises(OptionError, match="没有可比的系统"):
        compare(cases, Options(out=tmp_path / "empty"))


def test_the_hosted_api_is_asked_with_the_same_cases(
    live_app: LiveApp, hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    found = compare(cases, options(tmp_path, Choice(url=live_app.url, hosted=True), rows=12, texts=3))
    api = system(found, "deepseek-flash")
    assert (api.kind, api.asked, api.answered) == ("hosted", 15, 15)
    assert measure(found, "form", "valid_free").systems["deepseek-flash"].value == 1
    assert any("按时间均匀取 12 条" in note for note, _ in found.result.notes)
    assert all(body["model"] == "deepseek-flash" for body in hosted.bodies)


def test_cases_without_labels_give_form_and_answers_only(live_app: LiveApp, tmp_path: Path) -> None:
    found = compare(cases_of(["美联储宣布加息25个基点", "非农不及预期"]), options(tmp_path, Choice(url=live_app.url)))
    assert {each.group for each in found.result.measures} == {"form", "speed"}
    assert [each.chosen for each in found.result.examples] == ["asked", "asked"]
    assert any("没有标签" in note for note, _ in found.result.notes)
    assert not any(each.kind == "baseline" for each in found.result.systems)


def test_one_class_and_few_rows_are_said_in_the_notes(live_app: LiveApp, tmp_path: Path) -> None:
    rows = [{"text": f"第{n}条", "impact": "high", "direction": "bullish"} for n in range(12)]
    file = read_cases(write(tmp_path / "mine.jsonl", rows))
    found = compare(file, options(tmp_path, Choice(url=live_app.url), training=None))
    notes = "\n".join(chinese for chinese, _ in found.result.notes)
    assert (
        "影响程度只出现了一个类别（high）" in notes and "没有训练集，所以没有基线" in notes and "没有发布时间" in notes
    )
    accuracy = measure(found, "impact", "accuracy").systems["tuned"]
    assert accuracy.low is None and "少于 30 条" in str(accuracy.why_not)
    assert all(each.verdict == "unknown" for each in found.result.differences)


def test_two_machines_answers_make_one_report(
    live_app: LiveApp, hosted: DeepSeekStandIn, cases: CaseFile, tmp_path: Path
) -> None:
    there = Options(out=tmp_path / "colab", choice=Choice(url=live_app.url), texts=4, resamples=1000, seeds=1)
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
