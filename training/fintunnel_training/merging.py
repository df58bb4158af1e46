"""An adapter's update added to its base's weights, which then may be quantised.

Merged from unquantised weights: a LoRA update is far smaller than the steps of a 4-bit grid, so merging into 4 bits
would round much of it away and change answers. The sum is computed in float32, layer by layer, and rounded to
16 bits once; peft alone would round the update first and the sum again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fintunnel_training.base import LoadedBase, nf4_options
from fintunnel_training.errors import AdapterError

__all__ = ["merge_weights", "quantize"]


def merge_weights(base: LoadedBase, adapter: Path) -> Any:
    """The base's model with the adapter added to its weights; `base.model` itself is changed.

    Raises:
        AdapterError: the adapter does not fit, or a merged weight is not finite.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from tqdm.auto import tqdm

    try:
        model = PeftModel.from_pretrained(base.model, str(adapter), autocast_adapter_dtype=False)
    except Exception as error:  # damaged files make the libraries raise whatever they meet
        raise AdapterError(f"适配器 {adapter} 无法加载到基座 {base.info.id} 上：{error}"[:300]) from error
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in tqdm(layers, desc="合并", unit="层"):
        dtype = layer.get_base_layer().weight.dtype
        layer.float()
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise AdapterError(f"合并后的权重里有 NaN 或无穷大，{adapter} 的训练很可能发散了。") from error
        layer.to(dtype)
    return model.base_model.unload()


def quantize(base: LoadedBase) -> LoadedBase:
    """A base that was loaded in 16 bits, in NF4: what `load_base` makes of the same weights. Its layers are replaced
    one by one, so that 16 bits and 4 bits are never both there."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    options = nf4_options(getattr(torch, base.precision.dtype))
    head = base.model.get_output_embeddings()
    names = [
        name
        for name, module in base.model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    for name in names:
        layer = base.model.get_submodule(name)
        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=options["bnb_4bit_compute_dtype"],
            compress_statistics=options["bnb_4bit_use_double_quant"],
            quant_type=options["bnb_4bit_quant_type"],
            device="meta",
        )
        small.weight = Params4bit(
            layer.weight.data,
            requires_grad=False,
            compress_statistics=options["bnb_4bit_use_double_quant"],
            quant_type=options["bnb_4bit_quant_type"],
            module=small,
        )
        small.bias = layer.bias
        parent, _, child = name.rpartition(".")
        setattr(base.model.get_submodule(parent), child, small.to(base.device))  # quantises it
    return replace(base, quantization="nf4")
