"""One process or several: `accelerate launch` starts the same command once for each GPU."""

from __future__ import annotations

import os

__all__ = ["barrier", "is_main", "local_rank", "processes"]


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def barrier() -> None:
    """Wait for the others."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
