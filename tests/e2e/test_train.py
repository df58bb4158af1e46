from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
from fintunnel.prompt import PROMPT_VERSION, Message, render_prompt
from fintunnel_training.adapter import read_adapter
from fintunnel_training.base import LoadedBase, load_base, prompt_text, prompt_tokens
from fintunnel_training.errors import DataError, TrainingError
from fintunnel_training.instructions import InstructionRow, read_instructions
from fintunnel_training.qlora import trainer as trainer_module
from fintunnel_training.qlora.adapter_folder import check_written
from fintunnel_training.qlora.encoding import IGNORED, encode_rows
from fintunnel_training.qlora.evidence import TrainingInfo
from fintunnel_training.qlora.recipe import load_recipe
from fintunnel_training.qlora.trainer import (
    build_trainer,
    keep_layout_of_training,
    lora_weights_to_float32,
    use_one_gpu,
)

from tests.e2e.conftest import fintunnel

pytestmark = pytest.mark.e2e


def test_the_adapter_folder_is_whole(adapter: Path, instructions: Path) -> None:
    names = {path.name for path in adapter.iterdir()}
    assert names >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "manifest.json",
        "training_info.json",
        "log_history.jsonl",
        "loss_curve.png",
    }
    manifest = read_adapter(adapter)
    assert manifest is not None and manifest.prompt_version == PROMPT_VERSION and manifest.quantization == "nf4"
    data = read_instructions(instructions)
    assert manifest.edges == data.edges and manifest.edges is not None and manifest.data_sha256 == data.sha256
    assert (adapter / "loss_curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in adapter.parent.iterdir()] == ["tuned"]


def info_of(adapter: Path) -> TrainingInfo:
    return TrainingInfo.model_validate_json((adapter / "training_info.json").read_text(encoding="utf-8"))


def test_adapter_weights_were_trained_in_float32(adapter: Path) -> None:
    from safetensors.torch import load_file

    assert info_of(adapter).trainable_dtypes == ["torch.float32"]
    saved = load_file(adapter / "adapter_model.safetensors")
    assert {str(weights.dtype) for weights in saved.values()} == {"torch.bfloat16"}
    assert any(weights.abs().max() > 0 for name, weights in saved.items() if "lora_B" in name)


def test_training_info_is_what_one_shows(adapter: Path) -> None:
    info = info_of(adapter)
    assert (info.steps, info.options["lora_r"], info.options["batch_size"]) == (6, 8, 1)
    assert info.trainable_parameters == 2_442_240 and 0.017 < info.trainable_share < 0.019
    assert set(info.target_modules) == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    history = [json.loads(line) for line in (adapter / "log_history.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == 6 and all(math.isfinite(loss) for loss in losses)
    assert (info.first_loss, info.last_loss) == (losses[0], losses[-1])


def test_no_path_of_this_machine_is_in_the_folder(adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "SmolLM2-135M-Instruct"
    for name in ("manifest.json", "training_info.json", "tokenizer_config.json"):
        assert str(Path.home()) not in (adapter / name).read_text(encoding="utf-8")


def test_rows_are_tokenised_as_they_are_served(embedded: LoadedBase, instructions: Path) -> None:
    tokenizer = embedded.tokenizer
    data = read_instructions(instructions)
    encoded = encode_rows(data.rows, tokenizer, 4096)
    assert len(encoded.rows) == 40 and encoded.dropped == encoded.shortened == 0
    for row, tokens in zip(data.rows, encoded.rows, strict=True):
        text = tokenizer.decode(tokens["input_ids"])
        if row.request is not None and row.style == "json":
            asked = render_prompt(row.request).messages()
            for field in ('"impact":"', '"direction":"', '"signals":', '"rationale":"', '"answer":"'):
                end = row.output.find(field) + len(field)
                if field in row.output:  # what the server feeds up to this field is what was learned up to it
                    served = prompt_tokens(tokenizer, asked, row.output[:end])
                    unsure = 1 if field == '"signals":' else 0  # what follows may merge with the colon
                    assert served[: len(served) - unsure] == tokens["input_ids"][: len(served) - unsure]
        answer = [token for token, label in zip(tokens["input_ids"], tokens["labels"], strict=True) if label != IGNORED]
        assert tokenizer.decode(answer) == row.output + tokenizer.eos_token
        assert text.startswith("<|im_start|>system")


def test_long_texts_are_shortened_and_answers_never(embedded: LoadedBase, instructions: Path) -> None:
    tokenizer = embedded.tokenizer
    news = next(row for row in read_instructions(instructions).rows if row.request and row.request.task == "news")
    assert news.request is not None
    long = InstructionRow(
        news.instruction,
        news.input,
        news.output,
        news.request.model_copy(update={"text": "美联储官员称利率前景仍不确定。" * 60}),
        news.style,
    )
    encoded = encode_rows([long], tokenizer, 480)
    (row,) = encoded.rows
    assert encoded.shortened == 1 and 460 < len(row["input_ids"]) <= 480
    answer = tokenizer.decode([label for label in row["labels"] if label != IGNORED])
    assert answer == news.output + tokenizer.eos_token


def test_a_row_whose_answer_does_not_fit_is_dropped_and_counted(embedded: LoadedBase) -> None:
    short = InstructionRow("分析", "金价走高", "利好", None, "json")
    long = InstructionRow("分析", "金价走高", "利好" * 300, None, "json")
    encoded = encode_rows([short, long], embedded.tokenizer, 128)
    assert (len(encoded.rows), encoded.dropped) == (1, 1)
    with pytest.raises(DataError, match="每一行都超过 16 个 token.*--max-length"):
        encode_rows([short, long], embedded.tokenizer, 16)


def test_the_answer_prefix_stands_where_training_put_it(embedded: LoadedBase) -> None:
    messages: list[Message] = [{"role": "user", "content": "问"}]
    tokenizer = embedded.tokenizer
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": '{"a":1}'}], tokenize=False)
    assert whole.startswith(prompt_text(tokenizer, messages, '{"a":'))


def test_a_space_before_the_answer_is_learned_and_served_alike(embedded: LoadedBase) -> None:
    """deepseek-llm's generation prompt ends in `Assistant:`, its answers begin with a space."""
    tokenizer = copy.deepcopy(embedded.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}User: {{ m['content'] }}\n\n"
        "{% else %}Assistant: {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    row = InstructionRow("分析", "金价走高", '{"impact":"high","direction":"bullish"}', None, "json")
    (encoded,) = encode_rows([row], tokenizer, 128).rows
    learned = tokenizer.decode([label for label in encoded["labels"] if label != IGNORED])
    assert learned == " " + row.output + tokenizer.eos_token
    messages: list[Message] = [{"role": "user", "content": "分析\n金价走高"}]
    served = prompt_tokens(tokenizer, messages, '{"impact":"')
    assert served == encoded["input_ids"][: len(served)]
    assert prompt_text(tokenizer, messages).endswith("Assistant:")


def test_adapter_weights_become_float32() -> None:
    import torch

    model = torch.nn.ModuleDict({"lora": torch.nn.Linear(2, 2), "base": torch.nn.Linear(2, 2)}).to(torch.bfloat16)
    model["base"].requires_grad_(False)
    lora_weights_to_float32(model)
    assert {p.dtype for p in model["lora"].parameters()} == {torch.float32}
    assert {p.dtype for p in model["base"].parameters()} == {torch.bfloat16}


def test_an_evaluation_does_not_change_the_gradients_after_it() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(load_base("embedded").model, lora)
    keep_layout_of_training(model)
    ids = torch.arange(100, 116)[None]

    def gradients() -> list[torch.Tensor]:
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(), strict=True))


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text('{"instruction": "a", "output": "b"}\nnot json\n', encoding="utf-8")
    done = fintunnel("train", "--data", str(data), "--base", "embedded", "--out", str(tmp_path / "out"))
    assert done.returncode == 1 and "第 2 行不是 JSON" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_folder_of_ones_own_is_not_overwritten(tmp_path: Path, instructions: Path) -> None:
    (tmp_path / "thesis.docx").write_bytes(b"years of work")
    done = fintunnel("train", "--data", str(instructions), "--base", "embedded", "--out", str(tmp_path))
    assert done.returncode == 1 and "换一个目录" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_folder_with_somebody_elses_manifest_is_not_overwritten(tmp_path: Path, instructions: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}', encoding="utf-8")
    done = fintunnel("train", "--data", str(instructions), "--base", "embedded", "--out", str(tmp_path))
    assert done.returncode == 1 and "换一个目录" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_anybodys_instruction_rows_train_too(tmp_path: Path) -> None:
    data = tmp_path / "legacy.jsonl"
    rows = [{"instruction": "分析黄金消息", "input": f"金价上涨{n}%", "output": "避险升温，偏多。"} for n in range(4)]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "tuned"
    done = fintunnel(
        *("train", "--data", str(data), "--base", "embedded", "--out", str(out), "--max-steps", "1"),
        *("--targets", "attention", "--rslora", "--dora", "--loraplus-ratio", "16", "--neftune-alpha", "5"),
        *("--schedule", "constant", "--no-calibrate"),
    )
    assert done.returncode == 0, done.stderr
    manifest = read_adapter(out, allow_unverified=True)
    assert manifest is not None and manifest.prompt_version is None
    assert set(manifest.target_modules) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    config = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["use_dora"] and config["use_rslora"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_options_of_the_libraries_reach_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    confined: list[object] = []
    monkeypatch.setattr(trainer_module, "use_one_gpu", confined.append)
    base = load_base("embedded")  # of its own: it gets an adapter
    rows = [InstructionRow("分析", f"金价走高{n}", "利好", None, "json") for n in range(2)]
    changes = {"loraplus_ratio": 16.0, "neftune_alpha": 5.0, "schedule": "constant", "learning_rate": 1e-3, "lora_r": 4}
    encoded = encode_rows(rows, base.tokenizer, 128)
    trainer = build_trainer(base, encoded, None, load_recipe("cpu", changes), writing=tmp_path, callbacks=[])
    assert confined == [trainer.args]
    trainer.create_optimizer()
    rates: dict[str, set[float]] = {name: set() for name in ("lora_A", "lora_B")}
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            rates["lora_A" if "lora_A" in names[id(parameter)] else "lora_B"].add(group["lr"])
    assert rates == {"lora_A": {1e-3}, "lora_B": {16e-3}}
    assert trainer.neftune_noise_alpha == 5 and trainer.args.lr_scheduler_type == "constant_with_warmup"
    assert {len(p) for name, p in trainer.model.named_parameters() if "lora_A" in name} == {4}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_folder_that_lacks_weights_is_not_passed_off_as_the_adapter(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tiny = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    model = get_peft_model(tiny, LoraConfig(r=2, target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM"))
    weights = {name: p.detach().bfloat16() for name, p in model.named_parameters() if p.requires_grad}
    model.save_pretrained(tmp_path, state_dict=weights)
    path = tmp_path / "adapter_model.safetensors"
    check_written(path, model, weights)
    written = load_file(path)
    name = min(written)
    for damaged, reason in (
        ({other: weight for other, weight in written.items() if other != name}, "缺少权重"),
        (written | {name: written[name] + 1}, "与训练的不同"),
    ):
        save_file(damaged, path)
        with pytest.raises(TrainingError, match=reason):
            check_written(path, model, weights)
    first = min(weights)
    weights[first] = torch.full_like(weights[first], float("inf"))
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(TrainingError, match="NaN 或无穷大"):
        check_written(path, model, weights)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_one_process_that_sees_two_gpus_uses_one(tmp_path: Path) -> None:
    """transformers would wrap the model in DataParallel, which trl refuses after the base was loaded."""
    from trl import SFTConfig

    config = SFTConfig(output_dir=str(tmp_path), use_cpu=True)
    config._n_gpu = 2
    use_one_gpu(config)
    assert config.n_gpu == 1


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path, instructions: Path, adapter: Path) -> None:
    out = tmp_path / "tuned"
    done = fintunnel("train", "--data", str(instructions), "--base", "embedded", "--out", str(out), "--dry-run")
    assert done.returncode == 0 and "峰值约" in done.stderr and "步" in done.stderr and list(tmp_path.iterdir()) == []
    assert "基座 embedded，预设 cpu：批大小" in done.stderr and "去掉 --dry-run" in done.stderr
    info = info_of(adapter)
    assert f"适配器文件约 {info.trainable_parameters * 2 / 2**20:.1f} MiB" in done.stderr
    assert 0.5 < info.estimated_gib["peak"] / info.peak_memory_gib < 1.5
