from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fintunnel.errors import AuthenticationError, FinTunnelError
from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import Edges, ModelInfo, NewsAnalysis, NewsRequest, Timing, Usage
from fintunnel_training.adapter import BaseInfo, list_file, read_adapter, write_manifest
from fintunnel_training.calibration.calibrate import calibrate_adapter
from fintunnel_training.calibration.calibration_file import (
    CALIBRATION,
    EPSILON,
    Calibration,
    FieldFit,
    apply,
    read_calibration,
)
from fintunnel_training.calibration.fields import fit_field
from fintunnel_training.calibration.report import summary
from fintunnel_training.calibration.scaling import Scaling, fit_scaling, fold_stretches, measure, out_of_fold, scale
from fintunnel_training.calibration.serving import base_of
from fintunnel_training.calibration.validation_rows import read_validation, select
from fintunnel_training.errors import AdapterError, DataError, OptionError, TrainingError

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp

THREE = ("low", "medium", "high")
DISTORTION = Scaling(2.0, np.array([0.5, -0.2, -0.3]))


def drawn(rows: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """True probabilities, labels drawn from them, and 25 days."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet([1.0, 1.0, 1.0], rows)
    labels = np.array([rng.choice(3, p=row) for row in true])
    return true, labels, np.sort(rng.integers(0, 25, rows))


def distorted(true: Any) -> Any:
    """What a model would say whose answers `DISTORTION` makes true again: p = softmax(T (log q - b))."""
    scores = DISTORTION.temperature * (np.log(true) - DISTORTION.biases)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def fit(temperature: float = 1.0, biases: dict[str, float] | None = None) -> FieldFit:
    return FieldFit(
        temperature=temperature,
        biases=biases or dict.fromkeys(THREE, 0.0),
        rows=50,
        nll_before=1,
        nll_after=1,
        brier_before=1,
        brier_after=1,
        ece_before=0,
        ece_after=0,
    )


# --- the fit ----------------------------------------------------------------------------------------


def test_a_known_distortion_is_recovered() -> None:
    true, labels, _ = drawn(6000)
    found = fit_scaling(distorted(true), labels)
    assert found.temperature == pytest.approx(DISTORTION.temperature, rel=0.06)
    assert found.biases == pytest.approx(DISTORTION.biases, abs=0.06)
    assert float(found.biases.sum()) == pytest.approx(0, abs=1e-9)


def test_the_fit_is_the_minimum_that_it_claims() -> None:
    """No gradient of its own making: any small step away from it makes the penalised likelihood worse."""
    true, labels, _ = drawn(200)
    raw = distorted(true)
    found = fit_scaling(raw, labels)

    def objective(parameters: Any) -> float:
        log_temperature, biases = parameters[0], parameters[1:]
        nll = measure(scale(raw, Scaling(math.exp(log_temperature), biases)), labels).nll
        return nll + 5.0 * float(parameters @ parameters) / len(labels)

    at = np.array([math.log(found.temperature), *found.biases])
    for step in np.concatenate([np.eye(4), -np.eye(4)]) * 1e-3:
        assert objective(at + step) > objective(at)


def test_few_rows_give_nearly_the_identity() -> None:
    found = fit_scaling(np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]]), np.array([2, 0, 0]))
    assert found.temperature == pytest.approx(1, abs=0.3)
    assert np.abs(found.biases).max() < 0.25


def test_probabilities_that_are_right_stay_nearly_as_they_are() -> None:
    true, labels, _ = drawn(6000)
    found = fit_scaling(true, labels)
    assert found.temperature == pytest.approx(1, abs=0.06) and np.abs(found.biases).max() < 0.06


def test_what_gains_nothing_on_other_days_is_not_applied() -> None:
    """The two classes trade places from day to day: what one day teaches is wrong on the next."""
    days = np.repeat(np.arange(10), 20)
    labels = np.where(days < 5, 0, 1)
    judged = fit_field(np.tile([0.5, 0.5], (200, 1)), labels, days, ("true", "false"))
    assert judged.fit.is_identity and judged.fit.biases == {"true": 0, "false": 0}
    assert judged.fit.nll_after == judged.fit.nll_before == pytest.approx(math.log(2), abs=1e-6)


def test_the_gain_is_measured_on_days_that_were_not_fitted() -> None:
    true, labels, days = drawn(600)
    judged = fit_field(distorted(true), labels, days, THREE)
    assert not judged.fit.is_identity and judged.fit.nll_after < judged.fit.nll_before - 0.05
    assert judged.fit.ece_after < judged.fit.ece_before and judged.fit.brier_after < judged.fit.brier_before
    in_sample = measure(scale(judged.raw, fit_scaling(judged.raw, labels)), labels).nll
    assert judged.fit.nll_after > in_sample
    assert judged.fit.nll_after == round(measure(out_of_fold(judged.raw, labels, days), labels).nll, 6)


def test_no_day_is_on_both_sides_of_a_fold() -> None:
    days = np.array([738000, 738000, 738003, 738001, 738009, 738001, 738009, 738020, 738031])
    stretches = fold_stretches(days)
    assert len(stretches) == 5
    flat = [day for stretch in stretches for day in stretch]
    assert flat == sorted(set(days.tolist()))
    true, labels, _ = drawn(9)
    # Another label on a day changes nothing about how that day itself is scaled.
    other = labels.copy()
    other[:2] = (labels[:2] + 1) % 3
    scaled, rescaled = out_of_fold(true, labels, days), out_of_fold(true, other, days)
    assert np.array_equal(scaled[:2], rescaled[:2]) and not np.allclose(scaled[2:], rescaled[2:])


def test_zero_probabilities_cost_what_the_smallest_costs() -> None:
    judged = measure(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert judged.nll == pytest.approx(-math.log(EPSILON) / 2)
    assert judged.brier == pytest.approx(1) and judged.ece == pytest.approx(0.5)


# --- the file ---------------------------------------------------------------------------------------


def test_applied_probabilities_sum_to_one_and_agree_with_the_fit() -> None:
    raw = {"low": 0.0, "medium": 0.7, "high": 0.3}
    biases = {"low": 0.4, "medium": -0.5, "high": 0.1}
    applied = apply(raw, fit(0.5, biases))
    assert sum(applied.values()) == pytest.approx(1, abs=1e-12) and all(0 <= p <= 1 for p in applied.values())
    array = scale(np.array([list(raw.values())]), Scaling(0.5, np.array(list(biases.values()))))
    assert list(applied.values()) == pytest.approx(array[0].tolist())


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_a_temperature_alone_keeps_the_order(temperature: float) -> None:
    applied = apply({"low": 0.2, "medium": 0.5, "high": 0.3}, fit(temperature))
    assert sorted(applied, key=applied.__getitem__) == ["low", "high", "medium"]
    if temperature == 1:
        assert applied == pytest.approx({"low": 0.2, "medium": 0.5, "high": 0.3})


def test_a_class_without_a_bias_is_an_error() -> None:
    with pytest.raises(KeyError):
        apply({"low": 0.5, "extreme": 0.5}, fit())


def test_a_fit_whose_biases_do_not_sum_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 0"):
        fit(biases={"low": 0.5, "medium": 0.0, "high": 0.0})


# --- the validation file ----------------------------------------------------------------------------

EDGES = Edges(
    impact=(1, 2),
    direction=(-0.5, 0.5),
    priced_in_pre_return=0.002,
    wait_and_see_volatility=0.002,
    wait_and_see_pre_return=0.0005,
)
Change = Callable[[int, dict[str, Any]], None]


def row(number: int) -> dict[str, Any]:
    """A news row as `dataset build` writes it; every fourth has no context, and "high" is what mostly happened."""
    at = datetime(2025, 9, 1, 2, tzinfo=UTC) + timedelta(hours=5 * number)
    request: dict[str, Any] = {"text": f"第{number}条消息", "published_at": at.isoformat(), "task": "news"}
    signals = None
    if number % 4:
        request["context"] = {"pre_return": 0.001, "volatility": 0.002, "typical_move": 0.0005}
        signals = {"priced_in": number % 9 == 0, "wait_and_see": False}
    labels = {"impact": "high" if number % 5 else "low", "direction": "neutral", "signals": signals}
    meta = {
        "kind": "news",
        "style": "json",
        "split": "val",
        "prompt_version": PROMPT_VERSION,
        "horizon_min": 15,
        "request": request,
        "labels": labels,
    }
    return {"instruction": "分析", "input": request["text"], "output": "{}", "meta": meta}


def write_rows(folder: Path, count: int = 48, change: Change | None = None) -> Path:
    rows = [row(number) for number in range(count)]
    for number, one in enumerate(rows):
        if change is not None:
            change(number, one)
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in rows]
    (folder / "i.val.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "i.jsonl"


def test_rows_are_read_with_their_labels_in_order_of_time(tmp_path: Path) -> None:
    def swap(number: int, one: dict[str, Any]) -> None:
        if number == 0:
            one["meta"]["request"]["published_at"] = "2025-12-01T00:30:00"  # no zone: Beijing

    validation = read_validation(write_rows(tmp_path, 5, swap))
    assert [one.request.text for one in validation.rows] == [f"第{n}条消息" for n in (1, 2, 3, 4, 0)]
    assert validation.rows[0].signals is not None and validation.rows[0].impact == "high"
    assert validation.rows[-1].signals is None and validation.rows[-1].impact == "low"
    assert validation.rows[-1].beijing_day == datetime(2025, 12, 1).toordinal()
    assert read_validation(tmp_path / "i.val.jsonl") == validation


def test_days_are_beijings(tmp_path: Path) -> None:
    def late(_: int, one: dict[str, Any]) -> None:
        one["meta"]["request"]["published_at"] = "2025-09-01T16:00:00+00:00"

    assert read_validation(write_rows(tmp_path, 1, late)).rows[0].beijing_day == datetime(2025, 9, 2).toordinal()


def test_prose_and_report_rows_are_left_out(tmp_path: Path) -> None:
    def other(number: int, one: dict[str, Any]) -> None:
        if number == 1:
            one["meta"]["style"] = "news_prose"
        if number == 2:
            passages = [{"text": "营收1亿元", "source": "年报"}]
            one["meta"]["request"] = {"task": "report", "question": "营收？", "passages": passages}
            del one["meta"]["labels"]

    assert len(read_validation(write_rows(tmp_path, 5, other)).rows) == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("split",), "train", "第 2 行属于 'train'，不是验证集"),
        (("split",), "test", "第 2 行属于 'test'，不是验证集"),
        (("labels",), None, "第 2 行的标签缺失或无效：meta.labels"),
        (("labels", "direction"), "up", "第 2 行的标签缺失或无效：meta.labels.direction"),
        (("labels", "signals"), None, "第 2 行的 meta.labels.signals 与 meta.request.context 不一致"),
        (("request", "published_at"), None, "第 2 行没有 meta.request.published_at"),
        (("request", "text"), "", "第 2 行的 meta.request 无效"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, path: tuple[str, ...], value: object, message: str) -> None:
    def change(number: int, one: dict[str, Any]) -> None:
        if number == 1:
            inner = one["meta"]
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = value

    with pytest.raises(DataError, match=message):
        read_validation(write_rows(tmp_path, 3, change))


def test_a_file_of_another_tool_is_refused(tmp_path: Path) -> None:
    def strip(_: int, one: dict[str, Any]) -> None:
        del one["meta"]

    with pytest.raises(DataError, match="第 1 行没有 meta.split"):
        read_validation(write_rows(tmp_path, 3, strip))


def test_a_missing_validation_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"无法读取验证集 .*i\.val\.jsonl"):
        read_validation(tmp_path / "i.jsonl")


def test_a_card_of_other_files_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path, 3)
    card = {"files_sha256": {"train": "0"}, "edges": EDGES.model_dump()}
    (tmp_path / "i.card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(DataError, match="内容已改动"):
        read_validation(data)


def test_selected_rows_are_spread_over_time(tmp_path: Path) -> None:
    rows = read_validation(write_rows(tmp_path, 10)).rows
    assert [rows.index(one) for one in select(rows, 4)] == [0, 2, 5, 7]
    assert select(rows, None) == select(rows, 10) == select(rows, 99) == rows


# --- the whole, against the real app ----------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    base = BaseInfo(
        source="embedded",
        id="some/base",
        revision=None,
        config_sha256="c",
        tokenizer_sha256="t",
        chat_template_sha256="m",
        weights_sha256=None,
    )
    write_manifest(
        folder,
        base=base,
        quantization="nf4",
        target_modules=["q_proj"],
        prompt_version=PROMPT_VERSION,
        edges=EDGES,
        splits={},
        data_sha256="d",
        versions={},
    )
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")


def test_a_served_model_is_calibrated(
    live_app: LiveApp, engine: InstantEngine, adapter: Path, data: Path, tmp_path: Path
) -> None:
    engine.weights = {"low": 8.0}  # sure of "low", where "high" is what mostly happens
    returned = calibrate_adapter(adapter, data, url=live_app.url)
    assert read_calibration(adapter) == returned
    assert {name: set(parts) for name, parts in returned.fields.items()} == {
        "impact": {"with_context", "without_context"},
        "direction": {"with_context", "without_context"},
        "priced_in": {"with_context"},
        "wait_and_see": {"with_context"},
    }
    impact = returned.fields["impact"]
    assert impact["with_context"].rows == 36 and impact["without_context"].rows == 48 and returned.rows == 48
    assert impact["without_context"].biases["high"] > 0 > impact["without_context"].biases["low"]
    assert impact["without_context"].nll_after < impact["without_context"].nll_before
    calibrated = apply({"low": 0.8, "medium": 0.1, "high": 0.1}, impact["without_context"])
    assert max(calibrated, key=calibrated.__getitem__) == "high"
    seen = returned.fields["wait_and_see"]["with_context"]
    assert apply({"true": 0.5, "false": 0.5}, seen)["true"] < 0.3  # it never happened
    manifest = read_adapter(adapter)
    assert manifest is not None and {CALIBRATION, "calibration.png"} <= set(manifest.files)
    assert (adapter / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.val.jsonl", "tuned"]  # no cache, no partial file
    assert not [path.name for path in adapter.iterdir() if "partial" in path.name]
    assert not any("rationale" in prefix and prefix.endswith('"rationale":"') for prefix, _ in engine.calls)


def test_it_can_be_run_again(live_app: LiveApp, adapter: Path, data: Path) -> None:
    first = calibrate_adapter(adapter, data, url=live_app.url)
    second = calibrate_adapter(adapter, data, url=live_app.url)
    assert first.fields == second.fields and second.fitted_at > first.fitted_at
    assert read_adapter(adapter) is not None and read_calibration(adapter) == second


def test_a_run_that_was_interrupted_asks_nothing_twice(
    live_app: LiveApp,
    engine: InstantEngine,
    adapter: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []
    analyse = type(engine).score

    async def fail_after_some(self: InstantEngine, messages: Any, prefix: str, *given: Any, **named: Any) -> Any:
        if prefix == '{"impact":"':
            asked.append(messages[-1]["content"])
            if len(asked) == 30:
                self.failure = RuntimeError("the model is gone")
        return await analyse(self, messages, prefix, *given, **named)

    monkeypatch.setattr(InstantEngine, "score", fail_after_some)
    with pytest.raises(FinTunnelError):
        calibrate_adapter(adapter, data, url=live_app.url)
    assert not (adapter / CALIBRATION).exists() and read_adapter(adapter) is not None
    kept = int(capsys.readouterr().err.split("已得到的 ")[1].split(" 条")[0])
    assert 20 <= kept < 30 and (adapter.parent / ".tuned-calibration.sqlite").is_file()

    engine.failure = None
    asked_before = list(asked)
    del asked[:]
    monkeypatch.setattr(InstantEngine, "score", analyse)
    engine.calls.clear()
    calibrate_adapter(adapter, data, url=live_app.url)
    assert sum(prefix == '{"impact":"' for prefix, _ in engine.calls) == 36 + 48 - kept
    assert len(asked_before) >= kept and not (adapter.parent / ".tuned-calibration.sqlite").exists()


def test_answers_of_other_weights_are_not_taken(
    live_app: LiveApp, engine: InstantEngine, adapter: Path, data: Path
) -> None:
    cache = adapter.parent / ".tuned-calibration.sqlite"

    def run_without_end() -> None:
        calibration_json = adapter / CALIBRATION
        calibration_json.mkdir(exist_ok=True)  # so that writing fails when all is asked
        with pytest.raises(DataError):
            calibrate_adapter(adapter, data, url=live_app.url)
        calibration_json.rmdir()

    run_without_end()
    assert cache.is_file()
    (adapter / "adapter_model.safetensors").write_bytes(b"other weights")
    list_file(adapter, "adapter_model.safetensors")
    engine.calls.clear()
    run_without_end()
    assert sum(prefix == '{"impact":"' for prefix, _ in engine.calls) == 36 + 48


def test_a_damaged_cache_is_said(adapter: Path, data: Path, live_app: LiveApp) -> None:
    (adapter.parent / ".tuned-calibration.sqlite").write_bytes(b"no database" * 200)
    with pytest.raises(DataError, match="缓存"):
        calibrate_adapter(adapter, data, url=live_app.url)


def test_a_wrong_key_is_said(live_app: LiveApp, adapter: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "wrong-key-of-a-stranger")
    with pytest.raises(AuthenticationError):
        calibrate_adapter(adapter, data, url=live_app.url)
    assert not (adapter / CALIBRATION).exists()


def answer(request: NewsRequest, **changes: Any) -> NewsAnalysis:
    fields: dict[str, Any] = {
        "id": "a",
        "model": ModelInfo(backend="finetuned", base="b", adapter="tuned", prompt_version=1),
        "usage": Usage(prompt_tokens=1, completion_tokens=0),
        "timing_ms": Timing(queue=0, model=0, total=0),
        "impact": "low",
        "impact_probs": {"low": 0.5, "medium": 0.3, "high": 0.2},
        "direction": "neutral",
        "direction_probs": {"bearish": 0.2, "neutral": 0.5, "bullish": 0.3},
        "signals": [] if request.context else None,
        "signal_probs": {"priced_in": 0.1, "wait_and_see": 0.1} if request.context else None,
        "rationale": None,
    }
    return NewsAnalysis(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibrated": True}, "已经校准过.*--no-calibration"),
        ({"impact_probs": None}, "没有给出完整的概率（impact_probs）"),
        ({"direction_probs": {"bearish": 1.0}}, "没有给出完整的概率（direction_probs）"),
        ({"signal_probs": None}, "没有给出完整的概率（signal_probs）"),
        ({"model": ModelInfo(backend="finetuned", base="b", adapter=None, prompt_version=1)}, "没有适配器"),
        ({"edges": EDGES.model_copy(update={"impact": (1, 3)})}, "另一个适配器"),
    ],
)
def test_answers_that_cannot_be_calibrated_are_refused(
    adapter: Path, data: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(
        "fintunnel_training.calibration.calibrate.DeepSeekClient.analyze",
        lambda _, request: answer(request, **changes),
    )
    with pytest.raises(TrainingError, match=message):
        calibrate_adapter(adapter, data, url="http://127.0.0.1:9")
    assert not (adapter / CALIBRATION).exists()


def test_too_few_rows_are_counted(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="新闻行只有 12 条，至少要 30 条"):
        calibrate_adapter(adapter, write_rows(tmp_path, 12), url="http://127.0.0.1:9")
    with pytest.raises(DataError, match="有上下文的新闻行只有 27 条"):
        calibrate_adapter(adapter, write_rows(tmp_path, 36), url="http://127.0.0.1:9")
    with pytest.raises(DataError, match="新闻行只有 20 条"):
        calibrate_adapter(adapter, write_rows(tmp_path, 48), url="http://127.0.0.1:9", rows=20)


def test_rows_of_one_day_are_refused(adapter: Path, tmp_path: Path) -> None:
    def same_day(_: int, one: dict[str, Any]) -> None:
        one["meta"]["request"]["published_at"] = "2025-09-01T04:00:00+00:00"

    with pytest.raises(DataError, match="同一天"):
        calibrate_adapter(adapter, write_rows(tmp_path, 48, same_day), url="http://127.0.0.1:9")


def test_labels_that_mean_something_else_are_refused(adapter: Path, tmp_path: Path) -> None:
    def longer(_: int, one: dict[str, Any]) -> None:
        one["meta"]["horizon_min"] = 30

    with pytest.raises(DataError, match="30 分钟后"):
        calibrate_adapter(adapter, write_rows(tmp_path, 48, longer), url="http://127.0.0.1:9")
    data = write_rows(tmp_path)
    card = {
        "files_sha256": {"val": read_validation(data).sha256},
        "edges": EDGES.model_copy(update={"impact": (1, 3)}).model_dump(),
    }
    (tmp_path / "i.card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(DataError, match="标签边界"):
        calibrate_adapter(adapter, data, url="http://127.0.0.1:9")


def test_options_of_a_server_do_not_go_with_an_address(adapter: Path, data: Path) -> None:
    with pytest.raises(OptionError, match="--url"):
        calibrate_adapter(adapter, data, url="http://127.0.0.1:9", base="embedded")


def test_the_base_comes_from_the_manifest(adapter: Path) -> None:
    manifest = read_adapter(adapter)
    assert manifest is not None and base_of(manifest) == "embedded"
    hub = manifest.base.model_copy(update={"source": "hub"})
    assert base_of(manifest.model_copy(update={"base": hub})) == "some/base"
    local = manifest.base.model_copy(update={"source": "local"})
    for unknown in (manifest.model_copy(update={"base": local}), None):
        with pytest.raises(OptionError, match="--base"):
            base_of(unknown)


def test_a_calibration_of_other_weights_or_damaged_is_refused(live_app: LiveApp, adapter: Path, data: Path) -> None:
    assert read_calibration(adapter) is None
    made = calibrate_adapter(adapter, data, url=live_app.url)
    (adapter / "adapter_model.safetensors").write_bytes(b"other weights")
    with pytest.raises(AdapterError, match="另一份适配器权重"):
        read_calibration(adapter)
    for damaged in (
        "{",
        made.model_dump_json().replace('"format_version":1', '"format_version":2'),
        made.model_dump_json().replace('"medium":', '"middle":'),
    ):
        (adapter / CALIBRATION).write_text(damaged, encoding="utf-8")
        with pytest.raises(AdapterError, match="不是有效的校准"):
            read_calibration(adapter)


class DyingServer:
    """A `fintunnel serve` that ends as soon as it is asked something."""

    url = "http://127.0.0.1:9"  # where nobody listens
    process = SimpleNamespace(poll=lambda: 3, returncode=3)
    stopped = False

    def __init__(self, arguments: list[str], *, log: Path, environment: dict[str, str]) -> None:
        assert "--adapter" in arguments and "--base" in arguments and log.parent.is_dir()
        assert len(environment["FINTUNNEL_API_KEY"]) == 32

    def wait_until_ready(self) -> None:
        pass

    def tail(self) -> str:
        return "out of memory"

    def __enter__(self) -> DyingServer:
        return self

    def __exit__(self, *_: object) -> None:
        type(self).stopped = True


def test_a_server_of_its_own_that_dies_says_why(adapter: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_training.calibration.serving.LocalServer", DyingServer)
    with pytest.raises(TrainingError, match=r"退出码 3.*\s*out of memory"):
        calibrate_adapter(adapter, data)
    assert DyingServer.stopped and not (adapter / CALIBRATION).exists()


# --- the command ------------------------------------------------------------------------------------


def calibrate(*arguments: str, key: str = "right-key") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fintunnel", "calibrate", *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "FINTUNNEL_API_KEY": key},
        check=False,
    )


def test_the_command_reports_in_plain_words(
    live_app: LiveApp, engine: InstantEngine, adapter: Path, data: Path
) -> None:
    engine.weights = {"low": 8.0}
    done = calibrate("--adapter", str(adapter), "--data", str(data), "--url", live_app.url)
    assert done.returncode == 0, done.stderr
    assert "影响程度" in done.stdout and "无上下文" in done.stdout and " → " in done.stdout
    assert str(adapter / CALIBRATION) in done.stdout and "问模型" in done.stderr
    as_json = calibrate("--adapter", str(adapter), "--data", str(data), "--url", live_app.url, "--json")
    assert Calibration.model_validate_json(as_json.stdout).fields["impact"]["with_context"].rows == 36


def test_no_gain_is_said(live_app: LiveApp, adapter: Path, data: Path) -> None:
    made = calibrate_adapter(adapter, data, url=live_app.url)
    assert "不足 200 行" in summary(made) and "没有带来任何改善" not in summary(made)
    nothing = made.model_copy(update={"fields": {"impact": {"with_context": fit()}}})
    assert "校准没有带来任何改善" in summary(nothing)
    gained = fit(2.0).model_copy(update={"rows": 500})
    part = made.model_copy(update={"fields": {"impact": {"with_context": fit(), "without_context": gained}}})
    assert "保持原样的：影响程度（有上下文）。" in summary(part)


def test_the_command_fails_in_one_line(adapter: Path, data: Path) -> None:
    done = calibrate("--adapter", str(adapter), "--data", str(data.with_name("none.jsonl")))
    assert done.returncode == 1 and done.stderr.startswith("[错误] 无法读取验证集")


def test_the_file_is_read_without_torch_or_numpy() -> None:
    code = (
        "import sys, fintunnel_training.calibration.calibration_file;"
        "assert not {'torch', 'numpy'} & set(sys.modules);"
        "import fintunnel_training.calibration.calibrate;"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
