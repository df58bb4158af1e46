from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fintunnel.errors import AuthenticationError, FinTunnelError
from fintunnel.wire import ModelInfo, NewsAnalysis, NewsRequest, Timing, Usage
from fintunnel_server.engine import Field, Scores
from fintunnel_training.adapter import file_sha256, list_file, read_adapter
from fintunnel_training.calibration.calibrate import calibrate_adapter
from fintunnel_training.calibration.calibration_file import (
    CALIBRATION,
    apply,
    read_calibration,
)
from fintunnel_training.calibration.validation_rows import read_validation, validation_path
from fintunnel_training.errors import AdapterError, DataError, OptionError, TrainingError
from fintunnel_training.serving import base_of

from tests.instant_engine import InstantConversation, InstantEngine
from tests.live_app import LiveApp
from tests.training.calibration_rows import EDGES, write_rows

pytestmark = pytest.mark.usefixtures("key")


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


def test_a_validation_file_of_any_name_takes_the_place_of_the_one_beside(
    live_app: LiveApp, adapter: Path, data: Path
) -> None:
    """Rows of their own, so that it shows whose were asked."""
    beside = data.with_name("i.val.jsonl")
    other = data.with_name("later.jsonl")
    other.write_text("".join(beside.read_text(encoding="utf-8").splitlines(keepends=True)[4:]), encoding="utf-8")
    (data.with_name("later.val.jsonl")).write_text("not asked for", encoding="utf-8")
    made = calibrate_adapter(adapter, data, eval_data=other, url=live_app.url)
    assert (made.rows, made.data_sha256) == (44, file_sha256(other))
    assert calibrate_adapter(adapter, data, url=live_app.url).data_sha256 == file_sha256(beside)


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
    analyse = InstantConversation.score

    async def fail_after_some(self: InstantConversation, fields: Sequence[Field]) -> list[Scores]:
        if fields[0].prefix == '{"impact":"':
            asked.append(fields[0].prefix)
            if len(asked) == 30:
                self.engine.failure = RuntimeError("the model is gone")
        return await analyse(self, fields)

    monkeypatch.setattr(InstantConversation, "score", fail_after_some)
    with pytest.raises(FinTunnelError):
        calibrate_adapter(adapter, data, url=live_app.url)
    assert not (adapter / CALIBRATION).exists() and read_adapter(adapter) is not None
    kept = int(capsys.readouterr().err.split("已得到的 ")[1].split(" 条")[0])
    assert 20 <= kept < 30 and (adapter.parent / ".tuned-calibration.sqlite").is_file()

    engine.failure = None
    asked_before = list(asked)
    del asked[:]
    monkeypatch.setattr(InstantConversation, "score", analyse)
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
        "files_sha256": {"val": read_validation(validation_path(data)).sha256},
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
    monkeypatch.setattr("fintunnel_training.serving.LocalServer", DyingServer)
    with pytest.raises(TrainingError, match=r"退出码 3.*\s*out of memory"):
        calibrate_adapter(adapter, data)
    assert DyingServer.stopped and not (adapter / CALIBRATION).exists()
