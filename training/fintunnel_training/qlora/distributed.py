"""One process or several: `accelerate launch` starts the same command once for each GPU."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["any_process", "barrier", "is_main", "local_rank", "processes"]


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def barrier() -> None:
    """Wait for the others."""
    if processes() > 1:
        import torch
        from accelerate import PartialState

        on_gpu = torch.cuda.is_available()
        PartialState(cpu=not on_gpu, backend="nccl" if on_gpu else "gloo").wait_for_everyone()


def any_process(flag: bool, device: Any) -> bool:
    """Whether the flag is set in some process: all of them have to stop at the same step."""
    if processes() == 1:
        return flag
    import torch

    total = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(total)
    return bool(total.item())
