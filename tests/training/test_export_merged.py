from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import Edges, NewsAnalysis
from fintunnel_training.adapter import BaseInfo
from fintunnel_training.base import LoadedBase, Precision
from fintunnel_training.errors import AdapterError, DataError, OptionError, TrainingError
from fintunnel_training.export import merged as merging
from fintunnel_training.export.merged import base_to_merge, is_merged_from, write_merged
from fintunnel_training.export.record import read_record
from fintunnel_training.export.verify import compare, news_requests, verify

from tests.training.finished_adapter import BASE, finished_adapter, manifest_of, run

EDGES = Edges(
    impact=(1.0, 2.0),
    direction=(-0.5, 0.5),
    priced_in_pre_return=0.002,
    wait_and_see_volatility=0.003,
    wait_and_see_pre_return=0.001,
    horizon_min=30,
)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return finished_adapter(tmp_path / "models" / "tuned")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


# --- --merged ---------------------------------------------------------------------------------------


def fake_base(info: BaseInfo = BASE) -> LoadedBase:
    import torch

    model = SimpleNamespace(parameters=lambda: [torch.zeros(1024, 1024, dtype=torch.bfloat16)])
    return LoadedBase(model, None, info, Precision("bfloat16", fp16=False, bf16=False), "none", "cpu", 4096)


@pytest.fixture
def quick_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model: what is tested is the folder that the merged model lands in."""

    def save(model: object, base: object, folder: Path) -> None:
        del model, base
        (folder / "model.safetensors").write_bytes(b"merged")

    monkeypatch.setattr(merging, "load_base", lambda *_: fake_base())
    monkeypatch.setattr(merging, "merge_weights", lambda *_: None)
    monkeypatch.setattr(merging, "_save", save)


@pytest.mark.usefixtures("quick_merge")
def test_a_merged_folder_says_what_it_was_made_from(adapter: Path, tmp_path: Path) -> None:
    manifest, base = manifest_of(adapter), tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "LICENSE-MODEL"):
        (base / name).write_text(name, encoding="utf-8")
    out = tmp_path / "merged"
    write_merged(adapter, manifest, str(base), out)
    record = read_record(out)
    assert record is not None and set(record.files) == {"model.safetensors", "LICENSE-MODEL"}
    assert record.adapter_weights_sha256 == manifest.files["adapter_model.safetensors"]
    assert (record.adapter, record.base, record.dtype) == ("tuned", BASE, "bfloat16")
    assert is_merged_from(out, manifest) and sorted(path.name for path in tmp_path.iterdir()) == [
        "base", "merged", "models",
    ]  # fmt: skip
    other = manifest.model_copy(update={"files": manifest.files | {"adapter_model.safetensors": "x"}})
    assert not is_merged_from(out, other)
    (out / "model.safetensors").write_bytes(b"altered")
    assert not is_merged_from(out, manifest)
    write_merged(adapter, manifest, str(base), out)  # an earlier export is replaced
    assert is_merged_from(out, manifest)
    with pytest.raises(OptionError, match="已经是合并后的模型"):
        base_to_merge(manifest, str(out))


@pytest.mark.usefixtures("quick_merge")
def test_a_folder_that_is_not_ours_alone_is_not_touched(adapter: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TrainingError, match="不是以前导出的模型"):
        run("--adapter", adapter, "--merged", foreign)
    assert [path.name for path in foreign.iterdir()] == ["config.json"]
    with pytest.raises(TrainingError, match="是一个文件"):
        run("--adapter", adapter, "--merged", foreign / "config.json")
    out = tmp_path / "merged"
    write_merged(adapter, manifest_of(adapter), "some/base", out)
    (out / "my.gguf").touch()
    with pytest.raises(TrainingError, match=r"my\.gguf"):
        run("--adapter", adapter, "--merged", out)
    assert (out / "my.gguf").is_file()


@pytest.mark.usefixtures("quick_merge")
def test_an_interrupted_merge_leaves_the_earlier_one(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, manifest = tmp_path / "merged", manifest_of(adapter)
    write_merged(adapter, manifest, "some/base", out)
    (tmp_path / ".merged.fintunnel-partial").mkdir()  # what a killed run left
    monkeypatch.setattr(merging, "_hashes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_merged(adapter, manifest, "some/base", out)
    assert read_record(out) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged", "models"]


@pytest.mark.usefixtures("quick_merge")
def test_a_full_disk_is_said_before_anything_is_written(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40, 2**20))
    with pytest.raises(TrainingError, match="磁盘空间不够"):
        run("--adapter", adapter, "--merged", tmp_path / "a" / "merged")
    assert not (tmp_path / "a").exists()


def test_another_base_is_refused_before_merging(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = fake_base(BASE.model_copy(update={"id": "other/base", "config_sha256": "x"}))
    monkeypatch.setattr(merging, "load_base", lambda *_: other)
    with pytest.raises(AdapterError, match="另一个基座"):
        run("--adapter", adapter, "--merged", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_local_base_has_to_be_pointed_at(adapter: Path) -> None:
    manifest = manifest_of(adapter)
    assert base_to_merge(manifest, None) == "some/base" and base_to_merge(manifest, "there") == "there"
    for source, expected in (("embedded", "embedded"), ("local", None)):
        moved = manifest.model_copy(update={"base": BASE.model_copy(update={"source": source})})
        if expected is None:
            with pytest.raises(OptionError, match="请用 --base"):
                base_to_merge(moved, None)
        else:
            assert base_to_merge(moved, None) == expected


# --- --verify ---------------------------------------------------------------------------------------


def analysis(impact: str, high: float, direction: str = "neutral") -> NewsAnalysis:
    return NewsAnalysis.model_validate(
        {
            "id": "1",
            "model": {"backend": "finetuned", "base": "b", "adapter": None, "prompt_version": 1},
            "usage": {"prompt_tokens": 1, "completion_tokens": 0},
            "timing_ms": {"queue": 0, "model": 1, "total": 1},
            "impact": impact,
            "impact_probs": {"low": 0.9 - high, "medium": 0.1, "high": high},
            "direction": direction,
            "direction_probs": {"bearish": 0.2, "neutral": 0.5, "bullish": 0.3},
            "signals": None,
            "signal_probs": None,
            "rationale": None,
        }
    )


def test_differing_labels_are_counted() -> None:
    tuned = [analysis("low", 0.1), analysis("low", 0.4), analysis("high", 0.7)]
    merged = [analysis("low", 0.1), analysis("high", 0.65), analysis("high", 0.7, "bullish")]
    found = compare(tuned, merged, "x.val.jsonl")
    assert (found.rows, found.impact_differs, found.direction_differs) == (3, 1, 1)
    assert found.largest_difference == pytest.approx(0.25)
    assert compare(tuned, tuned, "x").largest_difference == 0


def row(task: str, style: str = "json") -> str:
    request = {"task": "news", "text": "美联储加息"}
    if task == "report":
        request = {"task": "report", "question": "?", "passages": [{"text": "t", "source": "s"}]}  # type: ignore[dict-item]
    meta = {"prompt_version": PROMPT_VERSION, "request": request, "style": style}
    return json.dumps({"instruction": "i", "input": "n", "output": "o", "meta": meta}) + "\n"


def test_the_validation_files_news_are_asked(tmp_path: Path) -> None:
    data, validation = tmp_path / "x.jsonl", tmp_path / "x.val.jsonl"
    data.write_text(row("news"), encoding="utf-8")
    assert news_requests(data, 50)[0] == data  # there is no other
    validation.write_text(row("report") + row("news", "news_prose") + row("news") * 3, encoding="utf-8")
    path, requests = news_requests(data, 50)
    assert path == validation and len(requests) == 3
    assert all(not request.explain for request in requests)
    assert len(news_requests(validation, 2)[1]) == 2
    validation.write_text(row("report"), encoding="utf-8")
    with pytest.raises(DataError, match="没有可以拿来问的新闻"):
        news_requests(data, 50)


def test_a_merged_model_of_another_horizon_cannot_be_compared(adapter: Path, tmp_path: Path) -> None:
    manifest = manifest_of(adapter).model_copy(update={"edges": EDGES})
    with pytest.raises(TrainingError, match="30 分钟"):
        verify(adapter, manifest, "some/base", tmp_path, tmp_path, [])
