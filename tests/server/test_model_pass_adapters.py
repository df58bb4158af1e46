"""Adapters in a pass: each answers as PEFT has it, beside the others, and what would spoil answers is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fintunnel_server.inference.adapter_weights import read_weights
from fintunnel_server.inference.model_pass import ModelPass
from fintunnel_training.errors import AdapterError

from tests.server.model_pass_rows import close, fed, some_tokens, take
from tests.server.tiny_model import plain_logits, write_adapter

# The libraries' notes to one another.
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]


def load(model: ModelPass, name: str, folder: Path) -> None:
    model.adapters.load(name, read_weights(folder))


def number(model: ModelPass, name: str | None) -> int:
    taken = model.adapters.take(name)
    return -1 if taken is None else taken.number


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {}),
        ("attention", {"targets": ["q_proj", "v_proj"]}),
        ("rslora", {"use_rslora": True}),
        ("dora", {"use_dora": True}),
    ],
)
def test_an_adapter_answers_as_peft_has_it(model: ModelPass, tmp_path: Path, name: str, options: Any) -> None:
    folder = write_adapter(tmp_path / name, seed=1, **options)
    load(model, name, folder)
    text = some_tokens(10, 13)
    [(_, logits)] = model.run([fed(take(model), 0, text, number(model, name))])
    expected = plain_logits(folder, text)[-1]
    assert close(logits, expected) and not close(logits, plain_logits(None, text)[-1])


def test_base_and_adapters_share_a_pass_without_mixing(model: ModelPass, tmp_path: Path) -> None:
    folders = {
        # First, so that layers which the others leave alone know fewer adapters than there are.
        "c": write_adapter(tmp_path / "c", seed=3, use_dora=True),
        "a": write_adapter(tmp_path / "a", seed=1),
        "b": write_adapter(tmp_path / "b", seed=2, targets=["q_proj", "down_proj"]),
        "d": write_adapter(tmp_path / "d", seed=4, targets=["v_proj"], use_dora=True),
    }
    for loaded, folder in folders.items():
        load(model, loaded, folder)
    names = ["a", None, "b", "c", "d", None, "a"]
    texts = [some_tokens(20 + i, 6 + i) for i in range(len(names))]
    rows = [take(model) for _ in names]
    numbers = [number(model, name) for name in names]
    prompts = [fed(row, 0, text[:-1], n) for row, text, n in zip(rows, texts, numbers, strict=True)]
    model.run(prompts)
    results = model.run(
        [fed(row, len(text) - 1, text[-1:], n) for row, text, n in zip(rows, texts, numbers, strict=True)]
    )
    for name, text, (_, logits) in zip(names, texts, results, strict=True):
        assert close(logits, plain_logits(folders.get(name or ""), text)[-1])


def test_an_adapter_that_is_replaced_goes_on_for_who_uses_it(model: ModelPass, tmp_path: Path) -> None:
    folders = [write_adapter(tmp_path / str(seed), seed=seed) for seed in (1, 2, 3)]
    text = some_tokens(30, 8)

    def answers(number: int) -> Any:
        row = take(model)
        [(_, logits)] = model.run([fed(row, 0, text, number)])
        model.cache.give_back(row)
        return logits

    load(model, "x", folders[0])
    old = model.adapters.take("x")
    assert old is not None
    load(model, "x", folders[1])
    assert close(answers(old.number), plain_logits(folders[0], text)[-1])
    assert close(answers(number(model, "x")), plain_logits(folders[1], text)[-1])
    model.adapters.give_back(old)
    assert close(answers(old.number), plain_logits(None, text)[-1])  # it is gone
    load(model, "y", folders[2])  # in its place
    assert number(model, "y") == old.number
    assert close(answers(old.number), plain_logits(folders[2], text)[-1])
    assert close(answers(-1), plain_logits(None, text)[-1])


def test_where_memory_ends_in_the_midst_of_loading_nothing_is_changed(
    model: ModelPass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write_adapter(tmp_path / "1", seed=1), write_adapter(tmp_path / "2", seed=2)
    load(model, "x", first)
    joined, plain = 0, torch.cat

    def full(*arguments: Any, **keywords: Any) -> Any:
        nonlocal joined
        joined += 1
        if joined == 8:
            raise torch.OutOfMemoryError("no memory")
        return plain(*arguments, **keywords)

    monkeypatch.setattr(torch, "cat", full)
    with pytest.raises(torch.OutOfMemoryError):
        load(model, "x", second)
    monkeypatch.undo()
    text = some_tokens(30, 8)
    [(_, logits)] = model.run([fed(take(model), 0, text, number(model, "x"))])
    assert close(logits, plain_logits(first, text)[-1])
    load(model, "y", write_adapter(tmp_path / "3", seed=3, targets=["v_proj"]))  # under the number that failed
    [(_, logits)] = model.run([fed(take(model), 0, text, number(model, "y"))])
    assert close(logits, plain_logits(tmp_path / "3", text)[-1])


@pytest.mark.parametrize(
    ("config", "weight", "reason"),
    [
        ({"lora_alpha": None}, None, "配置无效"),
        ({"lora_alpha": 10**400}, None, "配置无效"),
        ({"lora_alpha": float("nan")}, None, "NaN 或无穷大"),
        ({"lora_alpha": 1e300}, None, "NaN 或无穷大"),
        ({"r": 8}, None, "r 是 8，.* 的秩是 4"),
        ({}, float("nan"), "NaN 或无穷大"),
        ({}, torch.int32, "不是 LoRA 的矩阵"),
    ],
)
def test_an_adapter_that_would_spoil_answers_is_refused(
    model: ModelPass, tmp_path: Path, config: dict[str, Any], weight: Any, reason: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_adapter(tmp_path / "a", seed=1)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | config), encoding="utf-8")
    weights = load_file(folder / "adapter_model.safetensors")
    key = next(key for key in weights if "lora_B" in key)
    if isinstance(weight, float):
        weights[key][0, 0] = weight
    elif weight is not None:
        weights[key] = weights[key].to(weight)
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=reason):
        load(model, "a", folder)


def test_what_another_adapter_makes_of_a_token_does_not_reach_it(model: ModelPass, tmp_path: Path) -> None:
    """However large: in 16 bits it may be infinite, and 0 times that is not 0."""
    load(model, "x", write_adapter(tmp_path / "1", seed=1))
    load(model, "y", write_adapter(tmp_path / "2", seed=2))
    large = number(model, "y")
    for module in model.model.modules():
        if isinstance(getattr(module, "_columns", None), tuple) and large in module._columns:
            module._lora_a[[column == large for column in module._columns]] = 3e38
    text = some_tokens(30, 8)
    rows = take(model), take(model)
    results = model.run([fed(rows[0], 0, text, number(model, "x")), fed(rows[1], 0, text, large)])
    assert close(results[0][1], plain_logits(tmp_path / "1", text)[-1])
    assert not torch.isfinite(results[1][1]).all()


def test_an_adapter_of_the_output_layer_is_refused(model: ModelPass, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_adapter(tmp_path / "a", seed=1)
    weights = load_file(folder / "adapter_model.safetensors")
    key = next(key for key in weights if "q_proj.lora_A" in key)
    a, b = weights[key], weights[key.replace("lora_A", "lora_B")]
    head = "base_model.model.lm_head.lora_"
    save_file(
        weights | {f"{head}A.weight": a.clone(), f"{head}B.weight": b.repeat(8, 1)},
        folder / "adapter_model.safetensors",
    )
    with pytest.raises(AdapterError, match="改了输出层"):
        load(model, "a", folder)


def test_an_adapter_that_does_not_fit_changes_nothing(model: ModelPass, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_adapter(tmp_path / "a", seed=1)
    weights = load_file(folder / "adapter_model.safetensors")
    key = next(key for key in weights if "lora_A" in key)
    save_file(weights | {key: weights[key][:, :-1].contiguous()}, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="不适合这个基座"):
        load(model, "a", folder)
    save_file(weights | {"lm_head.weight": torch.zeros(2)}, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="认不出的权重：lm_head.weight"):
        load(model, "a", folder)
    text = some_tokens(31, 8)
    [(_, logits)] = model.run([fed(take(model), 0, text)])
    assert close(logits, plain_logits(None, text)[-1])
