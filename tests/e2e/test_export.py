"""A trained adapter in its other forms, on the real embedded base."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fintunnel.prompt import Message
from fintunnel_training.adapter import read_adapter
from fintunnel_training.base import LoadedBase, load_base, prompt_tokens
from fintunnel_training.export.record import read_record

from tests.e2e.conftest import fintunnel
from tests.training.test_export_modelfile import CONVERSATION, render_go, template_of

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def merged(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "analyst"
    done = fintunnel("export", "--adapter", str(adapter), "--merged", str(out))
    assert done.returncode == 0, done.stderr
    assert "bfloat16，基座 SmolLM2-135M-Instruct 未量化" in done.stdout and "100%" in done.stderr
    return out


@pytest.fixture(scope="module")
def loaded(merged: Path) -> LoadedBase:
    return load_base(str(merged), "none")


def test_the_merged_folder_is_a_model_of_its_own(merged: Path, adapter: Path) -> None:
    assert {path.name for path in merged.iterdir()} >= {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "Modelfile",
    }  # fmt: skip
    assert not (merged / "adapter_config.json").exists()
    assert [path.name for path in merged.parent.iterdir()] == ["analyst"]
    record, manifest = read_record(merged), read_adapter(adapter)
    assert record is not None and manifest is not None and record.base == manifest.base
    for path in merged.glob("*.json"):
        assert str(Path.home()) not in path.read_text(encoding="utf-8")


def test_merged_weights_are_the_float32_sum_rounded_once(loaded: LoadedBase, adapter: Path) -> None:
    import torch
    from safetensors.torch import load_file

    name = "model.layers.3.mlp.down_proj"
    lora = {key.rpartition(f"{name}.")[2]: tensor.float() for key, tensor in load_file(
        adapter / "adapter_model.safetensors").items() if f"{name}." in key}  # fmt: skip
    base = load_base("embedded", "none").model.get_submodule(name).weight
    update = 2.0 * (lora["lora_B.weight"] @ lora["lora_A.weight"])  # alpha / r = 16 / 8
    written = loaded.model.get_submodule(name).weight
    assert written.dtype == torch.bfloat16 and not torch.equal(written, base)
    assert torch.equal(written, (base.float() + update).to(torch.bfloat16))


def test_the_merged_model_computes_what_base_and_adapter_compute(loaded: LoadedBase, adapter: Path) -> None:
    import torch
    from peft import PeftModel

    messages: list[Message] = [{"role": "user", "content": "美联储宣布加息25个基点"}]
    ids = torch.tensor([prompt_tokens(loaded.tokenizer, messages, '{"impact":"')])

    def log_probabilities(model: Any) -> Any:
        with torch.inference_mode():
            return torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), dim=0)

    # Computed in float32, so that only the rounding of the merged weights to bf16 is seen.
    bare = load_base("embedded", "none").model.float().eval()
    untuned = log_probabilities(bare)
    tuned = log_probabilities(PeftModel.from_pretrained(bare, str(adapter)).eval())
    merged = log_probabilities(loaded.model.float().eval())
    likely = tuned > tuned.max() - 8  # what could ever be said
    assert (merged - tuned)[likely].abs().max() < 0.25
    assert (untuned - tuned)[likely].abs().max() > 1.0


def test_the_modelfile_renders_like_the_real_tokenizer(merged: Path, loaded: LoadedBase) -> None:
    template = template_of((merged / "Modelfile").read_text(encoding="utf-8"))
    for messages in (CONVERSATION, CONVERSATION[1:]):
        expected = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert render_go(template, messages) == expected


def test_verifying_counts_differing_labels(merged: Path, adapter: Path, instructions: Path) -> None:
    done = fintunnel(
        *("export", "--adapter", str(adapter), "--merged", str(merged), "--verify"),
        *("--data", str(instructions), "--rows", "6"),
    )
    assert done.returncode == 0, done.stderr
    assert "不再合并" in done.stdout and "instructions.val.jsonl" in done.stdout
    said = re.search(
        r"比较了 6 条：impact 有 (\d) 条不同，direction 有 (\d) 条不同，概率最多相差 (0\.\d{4})", done.stdout
    )
    record = read_record(merged)
    assert said is not None and record is not None and (found := record.verification) is not None
    assert (found.rows, found.data) == (6, "instructions.val.jsonl")
    assert (str(found.impact_differs), str(found.direction_differs)) == said.groups()[:2]
    # The adapter's own effect is far larger; in 16 bits some last digits differ.
    assert 0 < found.largest_difference < 0.2 and found.impact_differs <= 2 and found.direction_differs <= 2


def test_a_merged_model_is_not_merged_again(merged: Path, adapter: Path, tmp_path: Path) -> None:
    done = fintunnel("export", "--adapter", str(adapter), "--base", str(merged), "--merged", str(tmp_path / "twice"))
    assert done.returncode == 2 and "已经是合并后的模型" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_zip_and_bin_of_a_trained_adapter(adapter: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    copy = tmp_path / "copy"
    copy.mkdir()
    for path in adapter.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "weights.zip"
    done = fintunnel("export", "--adapter", str(copy), "--bin", "--zip", "--out", str(out))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked" / "copy"
    assert read_adapter(unpacked) == read_adapter(copy)
    weights = torch.load(unpacked / "adapter_model.bin", weights_only=True)
    expected = load_file(adapter / "adapter_model.safetensors")
    assert weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in expected)
