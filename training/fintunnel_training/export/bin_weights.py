"""The adapter's weights as `adapter_model.bin`, for tools that do not read safetensors."""

from __future__ import annotations

from pathlib import Path

from fintunnel.atomic_file import replacing_file

from fintunnel_training.adapter import ADAPTER_WEIGHTS, list_file
from fintunnel_training.errors import TrainingError

__all__ = ["BIN_WEIGHTS", "write_bin"]

BIN_WEIGHTS = "adapter_model.bin"


def write_bin(adapter: Path) -> Path:
    """Write the `.bin` beside the safetensors, compare the two tensor by tensor, and enter it in the manifest.

    Raises:
        TrainingError: it cannot be written, or reads back as something else.
    """
    import torch
    from safetensors.torch import load_file

    weights = load_file(adapter / ADAPTER_WEIGHTS)
    target = adapter / BIN_WEIGHTS
    try:
        with replacing_file(target) as partial:
            # Through an open file: given a path, torch writes its name into the archive.
            with partial.open("wb") as file:
                torch.save(weights, file)
            written = torch.load(partial, weights_only=True)
            same = written.keys() == weights.keys() and all(
                tensor.dtype == written[name].dtype and torch.equal(tensor, written[name])
                for name, tensor in weights.items()
            )
            if not same:
                raise TrainingError(f"{BIN_WEIGHTS} 读回来与 {ADAPTER_WEIGHTS} 不同，请检查磁盘。")
        list_file(adapter, BIN_WEIGHTS)
    except (OSError, RuntimeError) as error:  # a full disk ends torch's zip writer with a RuntimeError
        raise TrainingError(f"无法写入 {target}：{error}") from error
    return target
