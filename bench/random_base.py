"""Bases of a shape that people use, with random weights: as slow and as large as the real ones, and no download."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

__all__ = ["SHAPES", "random_base"]

SHAPES: dict[str, dict[str, int]] = {
    "deepseek-7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 30,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 102400,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 49152,
    },
}


def random_base(shape: str, folder: Path) -> Path:
    """The folder, with a base of that shape and random weights; one that lies there already is taken as it is."""
    if not (folder / "tokenizer.json").is_file():  # what is written last
        # In a process of its own, which takes its GPU memory with it.
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(folder, SHAPES[shape]))
        writer.start()
        writer.join()
        if writer.exitcode != 0:
            raise SystemExit(f"writing a base of shape {shape} failed: {writer.exitcode}")
    return folder


def _write(folder: Path, shape: dict[str, int]) -> None:
    """A causal LM of a shape with random bf16 weights, and the embedded base's tokenizer."""
    import torch
    from fintunnel_training.base import load_tokenizer, resolve_base
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(**shape, max_position_embeddings=4096, tie_word_embeddings=False)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    load_tokenizer(resolve_base("embedded")).save_pretrained(folder)
