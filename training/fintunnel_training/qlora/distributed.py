"""One process or several: `accelerate launch` starts the same command once for each GPU."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["barrier", "highest_of_all", "is_main", "local_rank", "processes"]


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


def highest_of_all(number: int, device: Any) -> int:
    """The highest of the processes' numbers."""
    if processes() == 1:
        return number
    import torch

    highest = torch.tensor(number, device=device)
    torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
    return int(highest.item())
