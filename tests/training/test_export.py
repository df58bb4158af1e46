from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.adapter import read_adapter
from fintunnel_training.errors import AdapterError, OptionError, TrainingError
from fintunnel_training.export.archive import write_zip
from fintunnel_training.export.bin_weights import write_bin

from tests.training.finished_adapter import finished_adapter, manifest_of, run


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return finished_adapter(tmp_path / "models" / "tuned")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


# --- --zip ------------------------------------------------------------------------------------------


def test_the_zip_holds_the_finished_folder_and_nothing_else(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--adapter", adapter, "--zip")
    path = adapter.parent / "qlora_weights.zip"
    names = ["adapter_config.json", "adapter_model.safetensors", "loss_curve.png", "manifest.json"]
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"tuned/{name}" for name in names]
        assert archive.testzip() is None
        assert all(archive.read(f"tuned/{name}") == (adapter / name).read_bytes() for name in names)
        archive.extractall(adapter.parent / "unpacked")
    assert manifest_of(adapter.parent / "unpacked" / "tuned") == manifest_of(adapter)
    assert str(path) in (said := capsys.readouterr().out) and "SHA-256" in said and "MiB" in said
    first = path.read_bytes()
    run("--adapter", adapter, "--zip")  # its own earlier file is replaced
    assert path.read_bytes() == first


def test_a_file_of_ones_own_is_not_overwritten(adapter: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.zip"
    thesis.write_bytes(b"not a zip")
    with pytest.raises(TrainingError, match="不是适配器的 zip 文件"):
        write_zip(adapter, thesis)
    assert thesis.read_bytes() == b"not a zip"
    with zipfile.ZipFile(thesis, "w") as archive:
        archive.writestr("thesis.docx", "years of work")
    with pytest.raises(TrainingError, match="不是适配器的 zip 文件"):
        write_zip(adapter, thesis)
    with pytest.raises(TrainingError):
        write_zip(adapter, tmp_path)


def test_an_unfinished_zip_leaves_nothing(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "zips" / "a.zip"
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: "tuned/manifest.json")
    with pytest.raises(TrainingError, match=r"校验失败：tuned/manifest\.json"):
        write_zip(adapter, out)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_zip(adapter, out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot make such names")
def test_the_zip_unpacks_on_windows(adapter: Path, tmp_path: Path) -> None:
    odd = adapter.rename(adapter.with_name("run: 2"))
    write_zip(odd, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert all(name.startswith("adapter/") for name in archive.namelist())
    for name in ("what?.txt", "con.json", "dot."):
        (odd / name).touch()
        with pytest.raises(AdapterError, match="Windows"):
            write_zip(odd, tmp_path / "b.zip")
        (odd / name).unlink()


# --- --bin ------------------------------------------------------------------------------------------


def test_the_bin_equals_the_safetensors_and_is_listed(adapter: Path) -> None:
    import torch
    from safetensors.torch import load_file

    run("--adapter", adapter, "--bin", "--zip")
    written = torch.load(adapter / "adapter_model.bin", weights_only=True)
    weights = load_file(adapter / "adapter_model.safetensors")
    assert written.keys() == weights.keys()
    assert all(torch.equal(written[name], weights[name]) for name in weights)
    assert {str(tensor.dtype) for tensor in written.values()} == {"torch.bfloat16"}
    assert "adapter_model.bin" in manifest_of(adapter).files
    with zipfile.ZipFile(adapter.parent / "qlora_weights.zip") as archive:
        assert "tuned/adapter_model.bin" in archive.namelist()
    (adapter / "adapter_model.bin").write_bytes(b"altered")
    with pytest.raises(AdapterError, match=r"被改动.*adapter_model\.bin"):
        read_adapter(adapter)


def test_a_bin_that_reads_back_differently_is_not_kept(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    real = torch.load

    def altered(*args: Any, **options: Any) -> Any:
        weights = real(*args, **options)
        weights["q.lora_A.weight"][0, 0] += 1
        return weights

    before = manifest_of(adapter)
    monkeypatch.setattr(torch, "load", altered)
    with pytest.raises(TrainingError, match="不同"):
        write_bin(adapter)
    assert manifest_of(adapter) == before
    assert not list(adapter.glob("*.bin")) and not list(adapter.glob(".adapter_model*"))


# --- the command ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [["--zip"], ["--bin"], ["--merged", "merged"]])
def test_a_tampered_adapter_is_refused(adapter: Path, tmp_path: Path, action: list[str]) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(AdapterError, match="被改动或损坏"):
        run("--adapter", adapter, *action)
    assert [path.name for path in tmp_path.iterdir()] == ["models"] and not list(adapter.glob("*.bin"))


@pytest.mark.parametrize("merged", [".", "merged", "deep/merged", "..", "../.."])
def test_a_merged_model_may_not_take_the_adapters_place(adapter: Path, merged: str) -> None:
    before = sorted(path.name for path in adapter.iterdir())
    with pytest.raises(OptionError, match="与适配器目录 .* 重叠") as refused:
        run("--adapter", adapter, "--merged", adapter / merged)
    assert refused.value.exit_status == 2 and sorted(path.name for path in adapter.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [([], "至少选一样"), (["--bin", "--out", "x.zip"], "--zip"), (["--verify", "--merged", "m"], "--data")],
)
def test_wrong_use_is_said_first(adapter: Path, options: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        run("--adapter", adapter, *options)
