"""A Llama of a few thousand random weights in float32, and adapters for it: fast enough for unit tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fintunnel_training.adapter import BaseInfo
from fintunnel_training.base import LoadedBase, Precision

VOCABULARY = 256


def tiny_base(seed: int = 0) -> LoadedBase:
    """Two query heads for each key-value head, as in the bases that people use."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    info = BaseInfo(
        source="local",
        id="tiny",
        revision=None,
        config_sha256="0" * 64,
        tokenizer_sha256="0" * 64,
        chat_template_sha256="0" * 64,
        weights_sha256=None,
    )
    return LoadedBase(model, None, info, Precision("float16", fp16=False, bf16=False), "none", "cpu", 2048)


def write_adapter(folder: Path, *, seed: int, targets: list[str] | str = "all-linear", **options: Any) -> Path:
    """An adapter whose B is not zero, as after training."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **options)
    model = get_peft_model(tiny_base().model, lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        elif "magnitude" in name:
            parameter.data *= 1.3
    model.save_pretrained(folder)
    return folder


def plain_logits(folder: Path | None, tokens: list[int]) -> Any:
    """After every token, by one whole pass of a fresh model; shape (tokens, vocabulary)."""
    from peft import PeftModel

    model = tiny_base().model
    if folder is not None:
        model = PeftModel.from_pretrained(model, str(folder)).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens])).logits[0]
