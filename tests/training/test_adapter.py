from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.adapter import Manifest, check_base, read_adapter
from fintunnel_training.errors import AdapterError

from tests.training.finished_adapter import BASE, bare_adapter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adapter" / "checkpoints").mkdir(parents=True)
    return bare_adapter(tmp_path / "adapter")


def test_a_complete_folder_is_read_back(folder: Path) -> None:
    manifest = read_adapter(folder)
    assert manifest is not None and manifest.base == BASE
    assert set(manifest.files) == {"adapter_model.safetensors", "adapter_config.json"}


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_missing_or_altered_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"altered")
    with pytest.raises(AdapterError, match=f"被改动.*{name}"):
        read_adapter(folder)
    (folder / name).unlink()
    with pytest.raises(AdapterError, match=f"缺少 {name}"):
        read_adapter(folder)


def change(folder: Path, **fields: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def test_an_unknown_prompt_version_says_so(folder: Path) -> None:
    change(folder, prompt_version=99)
    with pytest.raises(AdapterError, match="提示词版本是 99"):
        read_adapter(folder)


@pytest.mark.parametrize("fields", [{"format_version": 2}, {"base": {}}, {"surprise": 1}])
def test_a_manifest_of_another_form_is_refused(folder: Path, fields: dict[str, Any]) -> None:
    change(folder, **fields)
    with pytest.raises(AdapterError, match="不是有效的清单"):
        read_adapter(folder)


def test_a_manifest_cannot_point_outside_its_folder(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    change(folder, files=files | {"../secret": "0"})
    with pytest.raises(AdapterError, match="缺少"):
        read_adapter(folder)


def test_a_manifest_that_lists_no_weights_verifies_nothing(folder: Path) -> None:
    change(folder, files={})
    with pytest.raises(AdapterError, match="无法校验"):
        read_adapter(folder)


def test_an_adapter_made_elsewhere_needs_consent(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(AdapterError, match="--allow-unverified"):
        read_adapter(folder)
    assert read_adapter(folder, allow_unverified=True) is None


def test_another_base_is_refused_with_both_names(folder: Path) -> None:
    manifest = read_adapter(folder)
    assert isinstance(manifest, Manifest)
    check_base(manifest, BASE.model_copy(update={"id": "a local copy", "source": "local"}))
    with pytest.raises(AdapterError, match="some/base.*other/base.*词表"):
        check_base(manifest, BASE.model_copy(update={"id": "other/base", "tokenizer_sha256": "x"}))
    with pytest.raises(AdapterError, match="权重"):  # a sibling of the same shape and vocabulary
        check_base(manifest, BASE.model_copy(update={"id": "other/base", "weights_sha256": "x"}))
    check_base(manifest, BASE.model_copy(update={"weights_sha256": None}))


def test_an_adapter_of_foreign_prompts_needs_consent(folder: Path) -> None:
    change(folder, prompt_version=None)
    with pytest.raises(AdapterError, match="--allow-unverified"):
        read_adapter(folder)
    assert read_adapter(folder, allow_unverified=True) is not None


def test_the_folder_is_checked_without_torch() -> None:
    code = "import sys, fintunnel_training.adapter; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
