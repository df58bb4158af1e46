from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.base import Precision, load_base, load_tokenizer, resolve_base, select_precision
from fintunnel_training.errors import BaseModelError


def test_a_t4_computes_in_fp16() -> None:
    assert select_precision((7, 5)) == Precision("float16", fp16=True, bf16=False)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (12, 0)])
def test_ampere_and_later_compute_in_bf16(capability: tuple[int, int]) -> None:
    assert select_precision(capability) == Precision("bfloat16", fp16=False, bf16=True)


def test_a_cpu_trains_without_autocast() -> None:
    assert select_precision(None) == Precision("bfloat16", fp16=False, bf16=False)


@pytest.mark.parametrize("base", ["./none", "C:\\models\\none", "none", "a/b/c", "/none", "~/none"])
def test_a_base_that_is_nowhere_says_what_is_possible(base: str) -> None:
    with pytest.raises(BaseModelError, match="embedded"):
        resolve_base(base)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_base_that_writes_no_text_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=49152, **sizes)).save_pretrained(tmp_path)
    load_tokenizer(resolve_base("embedded")).save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match="causal LM"):
        load_base(str(tmp_path), "none")


def test_a_hub_id_and_a_folder_are_told_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert resolve_base("deepseek-ai/deepseek-llm-7b-chat").source == "hub"
    folder = tmp_path_factory.mktemp("model")
    with pytest.raises(BaseModelError, match=r"config\.json"):
        resolve_base(str(folder))
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert resolve_base(str(folder)).source == "local"
