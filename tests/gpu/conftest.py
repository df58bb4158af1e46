"""What every test on a GPU takes: one that is there, rows to learn from, a small base, adapters in both precisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fintunnel.prompt import PROMPT_VERSION, render_news_answer, render_prompt
from fintunnel.wire import Direction, Figures, Impact, NewsRequest
from fintunnel_training import base
from fintunnel_training.base import Precision
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.process_memory import give_back_memory
from fintunnel_training.qlora.recipe import load_recipe
from fintunnel_training.qlora.train import train

# What `select_precision` gives for a T4 and for newer GPUs; float32 nobody trains in: it shows what rounding hides.
PRECISIONS = {
    "float16": Precision("float16", fp16=True, bf16=False),
    "bfloat16": Precision("bfloat16", fp16=False, bf16=True),
    "float32": Precision("float32", fp16=False, bf16=False),  # type: ignore[arg-type]
}


@dataclass(frozen=True)
class Tuned:
    """An adapter of the embedded base, trained in `precision`, in which whoever loads the base now gets it too."""

    folder: Path
    precision: str


@pytest.fixture(autouse=True, scope="session")
def _a_gpu() -> None:
    if base.cuda_capability() is None:
        pytest.skip("no CUDA GPU")


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    yield
    give_back_memory()


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """A T4 has compute capability 7.5 and no bf16; its path runs on every GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "select_precision", lambda _capability: PRECISIONS[precision])
        yield


def requests(count: int, *, first: int = 0) -> list[NewsRequest]:
    """Calendar entries, no two alike."""
    found = []
    for number in range(first, first + count):
        figures = Figures(previous=number % 7 + 0.3, consensus=2.5, actual=number % 5 + 0.4, unit="%")
        at = datetime(2025, 9, 1, 2, tzinfo=UTC) + timedelta(hours=5 * number)
        text = f"{('美国', '欧元区', '英国')[number % 3]}{number % 12 + 1}月CPI年率，第{number}次公布"
        found.append(NewsRequest(text=text, published_at=at, importance=number % 5 + 1, figures=figures))
    return found


@pytest.fixture(scope="session")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows as `dataset build` writes them, without what a database takes."""
    out = tmp_path_factory.mktemp("data") / "i.jsonl"
    with out.open("w", encoding="utf-8") as file:
        for number, request in enumerate(requests(120)):
            prompt = render_prompt(request)
            direction: Direction = ("bearish", "neutral", "bullish")[number % 3]
            impact: Impact = ("low", "high")[number % 2]
            answer = render_news_answer(impact, direction, None, f"公布值与预期2.5%相比，影响{impact}。")
            meta = {
                "style": "json",
                "prompt_version": PROMPT_VERSION,
                "horizon_min": 15,
                "request": request.model_dump(mode="json"),
            }
            row = {"instruction": prompt.instruction, "input": prompt.input, "output": answer, "meta": meta}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return out


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights, small, but wide enough that 8-bit optimizer states are used."""
    import torch
    from fintunnel_training.base import load_tokenizer, resolve_base
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    tokenizer = load_tokenizer(resolve_base("embedded"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["float16", "bfloat16"])
def tuned(
    request: pytest.FixtureRequest, instructions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tuned]:
    """20 steps by a T4's preset."""
    out = tmp_path_factory.mktemp("models") / request.param
    recipe = load_recipe("t4", {"max_steps": 20, "max_length": 768, "learning_rate": 1e-3})
    with computing_in(request.param):
        train(TrainOptions(data=instructions, out=out, base="embedded", recipe=recipe, preset="t4"))
        give_back_memory()
        yield Tuned(out, request.param)
