"""One process or several: `accelerate launch` starts the same command once for each GPU."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from fintunnel_training.errors import OptionError, TrainingError

__all__ = [
    "barrier",
    "check_launcher",
    "from_main",
    "highest_of_all",
    "is_main",
    "local_rank",
    "processes",
    "raise_lost_process",
    "said_once",
]

_T = TypeVar("_T")
# What `accelerate launch` sets for the ways of sharing a model that are not supported.
_SHARDING = {"FSDP": "ACCELERATE_USE_FSDP", "DeepSpeed": "ACCELERATE_USE_DEEPSPEED"}
# gloo's words, and the store's, when a process of the group is gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "failed to recv")


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def check_launcher() -> None:
    """Raise OptionError where the launcher was told to shard the model: every process holds the whole base here, and
    adapter and optimizer are saved as one process has them."""
    for name, variable in _SHARDING.items():
        if os.environ.get(variable, "").lower() in ("1", "true"):
            raise said_once(
                OptionError(
                    f"不支持 {name}：每张卡都放一份完整的 4-bit 基座。请改用 accelerate launch --multi_gpu"
                    "（并检查 accelerate config 存下的设置）。"
                )
            )


def barrier() -> None:
    """Wait for the others."""
    if processes() > 1:
        _connected().wait_for_everyone()


def from_main(action: Callable[[], _T]) -> _T:
    """What the first process gets from `action`, in every process; the others wait for it and take what it found.

    Raises:
        whatever `action` raises; in the others SystemExit, because the first process says what it was.
        TrainingError: the first process is gone.
    """
    if processes() == 1:
        return action()
    import torch

    _connected()
    outcome: list[Any] = [None, 0]
    failure: Exception | None = None
    if is_main():
        try:
            outcome = [action(), 0]
        except Exception as error:
            failure = error
            outcome = [None, getattr(error, "exit_status", 1)]
    try:
        torch.distributed.broadcast_object_list(outcome, src=0)
    except RuntimeError as error:
        if failure is None:
            raise_lost_process(error, "")
            raise
    if failure is not None:
        raise failure
    if outcome[1]:
        raise SystemExit(outcome[1])
    result: _T = outcome[0]
    return result


def said_once(error: TrainingError) -> BaseException:
    """What to raise for an error that every process meets: the first one says it, the others end without a word."""
    return error if is_main() else SystemExit(error.exit_status)


def raise_lost_process(error: RuntimeError, what_is_left: str) -> None:
    """Raise TrainingError in plain words where `error` came because another process of the group has ended."""
    if processes() > 1 and any(words in str(error) for words in _LOST):
        raise TrainingError(
            f"另一个训练进程已经停止，这个进程也停止。{what_is_left}再次运行同一条命令，就接着训练。"
        ) from error


def highest_of_all(number: int, device: Any) -> int:
    """The highest of the processes' numbers."""
    if processes() == 1:
        return number
    import torch

    highest = torch.tensor(number, device=device)
    torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
    return int(highest.item())


@cache
def _connected() -> Any:
    import torch
    from accelerate import PartialState

    on_gpu = torch.cuda.is_available()
    state = PartialState(cpu=not on_gpu, backend="nccl" if on_gpu else "gloo")
    if not on_gpu:
        atexit.register(_disconnect)
    return state


def _disconnect() -> None:
    """Left to the interpreter's end, gloo's threads are now and then destroyed while they run, and the process aborts.
    (NCCL would wait here for the others, who may be gone.)"""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
