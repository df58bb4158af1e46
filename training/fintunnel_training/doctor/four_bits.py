"""bitsandbytes at work: a layer is quantised to NF4 and run forward and backward where training would run it.

That it can be imported says little: its kernels may lack the GPU, or its triton may not fit torch's.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from fintunnel_training.base import select_precision
from fintunnel_training.doctor.findings import Finding, first_line
from fintunnel_training.doctor.hardware import Torch

__all__ = ["four_bits"]

_SIZE, _ROWS, _RANK = 256, 32, 8
# NF4 keeps about 9 % of a normal distribution's deviation as error, and a product inherits it.
_MOST_ERROR = 0.2


def four_bits(torch: Torch) -> Finding:
    if torch.module is None:
        return Finding("warning", "未检查（torch 不可用）", "请先装好 torch。")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    device = "cpu" if torch.capability is None else "cuda:0"
    dtype = select_precision(torch.capability).dtype
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forward, backward = _relative_errors(torch.module, device, getattr(torch.module, dtype))
    except Exception as error:
        return Finding("failure", f"bitsandbytes 出错：{type(error).__name__}: {first_line(error)}", _advice(error))
    found = f"{device} 上 NF4 前向、反向的相对误差 {forward:.1%}、{backward:.1%}（{dtype}）"
    # Written so that NaN fails.
    if not (forward < _MOST_ERROR and backward < _MOST_ERROR):
        return Finding("failure", found, f"量化的结果不对（应在 {_MOST_ERROR:.0%} 以内），{_advice(None)}")
    return Finding("ok", found)


def _relative_errors(torch: Any, device: str, dtype: Any) -> tuple[float, float]:
    """Error of the product and of the gradient that reaches a low-rank factor in front of the layer, relative to the
    same in float32. A result that is not finite gives NaN or infinity."""
    import bitsandbytes

    draw = torch.Generator().manual_seed(0)
    # The weight needs no gradient, as in training: the gradient passes through it to the adapter.
    weight, rows, down, up, upstream = (
        torch.randn(shape, generator=draw)
        for shape in ((_SIZE, _SIZE), (_ROWS, _SIZE), (_SIZE, _RANK), (_RANK, _SIZE), (_ROWS, _SIZE))
    )
    weight /= _SIZE**0.5
    up /= (_SIZE * _RANK) ** 0.5
    layer = bitsandbytes.nn.Linear4bit(
        _SIZE, _SIZE, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4"
    )
    layer.weight = bitsandbytes.nn.Params4bit(
        weight.clone(), requires_grad=False, compress_statistics=True, quant_type="nf4"
    )
    layer = layer.to(device)
    if layer.weight.numel() * 2 != weight.numel():
        raise RuntimeError("the weight was not packed into 4 bits")

    down, up = down.to(device).requires_grad_(), up.to(device)
    product = layer((rows.to(device) @ down @ up).to(dtype)).float()
    product.backward(upstream.to(device))

    exact = down.detach().cpu().requires_grad_()
    expected = rows @ exact @ up.cpu() @ weight.T
    expected.backward(upstream)
    return _relative(product, expected), _relative(down.grad, exact.grad)


def _relative(result: Any, expected: Any) -> float:
    result, expected = result.detach().cpu(), expected.detach()
    return float((result - expected).norm() / expected.norm())


def _advice(error: Exception | None) -> str:
    if error is not None and "no kernel image" in str(error):
        return "这块 GPU 太旧或太新，torch 里没有它的内核：请换一个 CUDA 版本的 torch，或改用 Colab T4。"
    return "请运行：python -m pip install -U bitsandbytes；仍不行，训练时加 --quantization none（16-bit，更占显存）。"
