"""Faults put into the model or the system of a process that trains.

memory:2:3   a pass over more than 2 rows runs out of memory, from the 3rd optimizer step on
update:3     the 3rd update of the weights runs out of memory, once
nan:3        the loss is NaN from the 3rd optimizer step on
signal:2:3   signal number 2 comes in the 3rd optimizer step
end          killed when the adapter's folder is to be written
disk:100000  no file may grow beyond so many bytes
"""

from __future__ import annotations

import os
import signal
from typing import Any


def put_in(fault: str) -> None:
    """From now on, in this process."""
    kind, *numbers = fault.split(":")
    values = [int(number) for number in numbers]
    if kind == "end":
        from fintunnel_training.qlora import train

        vars(train)["write_adapter_folder"] = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "disk":
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes fail instead of ending the process
        resource.setrlimit(resource.RLIMIT_FSIZE, (values[0], resource.RLIM_INFINITY))
    elif kind == "update":
        _break_update(values[0])
    else:
        _break_steps(kind, values)


def _break_update(number: int) -> None:
    import torch

    step, updates = torch.optim.AdamW.step, 0

    def broken(self: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal updates
        updates += 1
        if updates == number:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, *arguments, **keywords)

    torch.optim.AdamW.step = broken


def _break_steps(kind: str, values: list[int]) -> None:
    import torch
    from trl import SFTTrainer

    step = SFTTrainer.training_step

    def broken(self: Any, model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        loss = step(self, model, inputs, *arguments, **keywords)
        if kind == "nan" and self.state.global_step + 1 >= values[0]:
            return loss * float("nan")
        if kind == "memory" and len(inputs["input_ids"]) > values[0] and self.state.global_step + 1 >= values[1]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if kind == "signal" and self.state.global_step + 1 == values[1]:
            os.kill(os.getpid(), values[0])
        return loss

    SFTTrainer.training_step = broken
