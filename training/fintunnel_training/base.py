"""Finds a base model (hub id, local folder, or the embedded default) and loads it, in 4 bits or 16.

Also where conversations become tokens, for training and for serving alike: `prompt_text` is the one place
that applies the chat template. Torch and transformers are imported when a model is loaded, not before.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fintunnel.errors import PromptRejectedError
from fintunnel.prompt import Message

from fintunnel_training.adapter import BaseInfo
from fintunnel_training.embedded import EMBEDDED_ID, embedded_folder, quiet_libraries
from fintunnel_training.errors import BaseModelError

__all__ = [
    "DEFAULT_HUB_BASE",
    "EMBEDDED",
    "LoadedBase",
    "Precision",
    "Quantization",
    "ResolvedBase",
    "cuda_capability",
    "default_base",
    "load_base",
    "load_tokenizer",
    "nf4_options",
    "prompt_text",
    "prompt_tokens",
    "resolve_base",
    "select_precision",
]

EMBEDDED = "embedded"
DEFAULT_HUB_BASE = "deepseek-ai/deepseek-llm-7b-chat"
Quantization = Literal["nf4", "none"]

# What fixes the shapes of the weights; anything else in a config varies with the library that wrote it.
_SHAPE_FIELDS = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
_MARK = "\u2402"
_ROUND_TRIP = "美国7月CPI年率 2.7%，预期 2.8%。 gold XAUUSD 3,345.10  end"


@dataclass(frozen=True)
class Precision:
    """`dtype` of weights and 4-bit compute; `fp16` / `bf16` switch mixed-precision training on."""

    dtype: Literal["float16", "bfloat16"]
    fp16: bool
    bf16: bool


def select_precision(cuda_capability: tuple[int, int] | None) -> Precision:
    """Decide by compute capability; None means CPU.

    A T4 (7.5) computes bf16 only by emulation, yet `torch.cuda.is_bf16_supported()` says yes there, so that
    function is not asked. On CPU the weights are bf16 and the adapter trains in float32 without autocast.
    """
    if cuda_capability is None:
        return Precision("bfloat16", fp16=False, bf16=False)
    if cuda_capability[0] >= 8:
        return Precision("bfloat16", fp16=False, bf16=True)
    return Precision("float16", fp16=True, bf16=False)


@dataclass(frozen=True)
class ResolvedBase:
    """`path` is what transformers loads: a folder, or a hub id."""

    source: Literal["embedded", "local", "hub"]
    id: str
    path: str
    revision: str | None


@dataclass(frozen=True)
class LoadedBase:
    model: Any
    tokenizer: Any
    info: BaseInfo
    precision: Precision
    quantization: Quantization
    device: str
    context_tokens: int


def cuda_capability() -> tuple[int, int] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return int(major), int(minor)


def default_base() -> str:
    """deepseek-llm-7b-chat where there is a GPU, the embedded model elsewhere."""
    return DEFAULT_HUB_BASE if cuda_capability() is not None else EMBEDDED


def resolve_base(base: str) -> ResolvedBase:
    if base == EMBEDDED:
        folder, revision = embedded_folder()
        return ResolvedBase("embedded", EMBEDDED_ID, str(folder), revision)
    folder = Path(base)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseModelError(f"{folder} 里没有 config.json，不是一个模型目录")
        return ResolvedBase("local", folder.resolve().name, str(folder), None)
    if folder.is_absolute() or base.startswith((".", "~")) or "\\" in base or base.count("/") != 1:
        raise BaseModelError(
            f"找不到基座模型：{base}。--base 可以是 embedded、本地目录，或 {DEFAULT_HUB_BASE} 这样的模型 ID。"
        )
    return ResolvedBase("hub", base, base, None)


def load_tokenizer(resolved: ResolvedBase) -> Any:
    """The base's tokenizer, checked: Chinese, spaces and digits survive a round trip (some transformers 5
    versions drop the spaces of deepseek-llm's), there is a chat template, and padding is possible."""
    from transformers import AutoTokenizer

    quiet_libraries()
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, trust_remote_code=False)
    except Exception as error:  # damaged files make the libraries raise whatever they meet
        raise BaseModelError(_cannot_load(resolved, error)) from error
    decoded = tokenizer.decode(
        tokenizer(_ROUND_TRIP, add_special_tokens=False).input_ids, clean_up_tokenization_spaces=False
    )
    if decoded.strip() != _ROUND_TRIP:
        raise BaseModelError(
            f"{resolved.id} 的分词器在当前 transformers 版本下会改动文本（{decoded!r}）。请升级 transformers。"
        )
    if not tokenizer.chat_template:
        raise BaseModelError(f"{resolved.id} 没有对话模板，不是对话模型。请换用 chat / instruct 版本的基座。")
    if tokenizer.pad_token is None:
        # Safe: labels are made before padding, so the end token of an answer is always learned.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(base: str, quantization: Quantization = "nf4") -> LoadedBase:
    """Load model and tokenizer on the GPU if there is one, else on the CPU.

    `nf4` is QLoRA's 4-bit NormalFloat with double quantisation (Dettmers et al., 2023).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    resolved = resolve_base(base)
    tokenizer = load_tokenizer(resolved)
    capability = cuda_capability()
    precision = select_precision(capability)
    # `accelerate launch` starts one process for each GPU and tells it which is its own.
    device = "cpu" if capability is None else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    dtype = getattr(torch, precision.dtype)
    options: dict[str, Any] = {}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, **nf4_options(dtype))
    try:
        published = AutoConfig.from_pretrained(resolved.path, trust_remote_code=False)
        published_dtype, architectures = published.dtype, published.architectures or []
        model = AutoModelForCausalLM.from_pretrained(
            resolved.path, dtype=dtype, device_map={"": device}, trust_remote_code=False, **options
        )
    except Exception as error:  # damaged files make the libraries raise whatever they meet
        raise BaseModelError(_cannot_load(resolved, error)) from error
    if architectures and not any(
        kind in name for name in architectures for kind in ("CausalLM", "LMHeadModel", "ConditionalGeneration")
    ):
        raise BaseModelError(f"{resolved.id} 不是能生成文本的模型（causal LM），请换一个基座。")
    config = model.config.to_dict()
    revision = resolved.revision or getattr(model.config, "_commit_hash", None)
    info = BaseInfo(
        source=resolved.source,
        id=resolved.id,
        revision=revision,
        config_sha256=_sha256({field: config.get(field) for field in _SHAPE_FIELDS}),
        tokenizer_sha256=_sha256(sorted(tokenizer.get_vocab().items())),
        chat_template_sha256=_sha256(tokenizer.chat_template),
        weights_sha256=_weights_sha256(model) if published_dtype == torch.bfloat16 else None,
    )
    return LoadedBase(
        model=model,
        tokenizer=tokenizer,
        info=info,
        precision=precision,
        quantization=quantization,
        device=device,
        context_tokens=int(config["max_position_embeddings"]),
    )


def nf4_options(dtype: Any) -> dict[str, Any]:
    """QLoRA's 4 bits, under bitsandbytes' names."""
    return {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}


def prompt_text(tokenizer: Any, messages: list[Message], answer_prefix: str = "") -> str:
    """The text a model continues: the conversation, then the beginning of its own turn.

    A non-empty `answer_prefix` goes through the template as the answer's beginning, because templates differ
    in what stands between the role and the answer (deepseek-llm: a space that the generation prompt lacks).

    Raises:
        PromptRejectedError: the template does not allow such a conversation.
    """
    if not answer_prefix:
        return _apply_template(tokenizer, messages, add_generation_prompt=True)
    # A mark that survives any template's trimming; what stands before it is what the template puts there.
    answer = _MARK + answer_prefix
    text = _apply_template(tokenizer, [*messages, {"role": "assistant", "content": answer}])
    return text[: text.rindex(answer)] + answer_prefix


def _apply_template(tokenizer: Any, messages: list[Message], *, add_generation_prompt: bool = False) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt))
    except TemplateError as error:
        raise PromptRejectedError(f"这个模型的对话模板不接受这样的对话：{error}") from error


def prompt_tokens(tokenizer: Any, messages: list[Message], answer_prefix: str = "") -> list[int]:
    text = prompt_text(tokenizer, messages, answer_prefix)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _weights_sha256(model: Any) -> str:
    """Hash of all one-dimensional weights as float32: exact from bf16 under every precision that is used here."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.dim() == 1:
            digest.update(name.encode())
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


def _cannot_load(resolved: ResolvedBase, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    reason = lines[0][:200] if lines else type(error).__name__
    if resolved.source == "hub":
        return (
            f"无法加载 {resolved.id}：{reason}。"
            "请检查网络与代理；国内可设 HF_ENDPOINT 使用镜像，或下载到本地后用 --base 目录。"
        )
    return f"无法加载 {resolved.path}：{reason}"
