"""`fintunnel` with a fault put into the model or the system, as the environment says: for tests only.

FAULT=memory:2:3   a pass over more than 2 rows runs out of memory, from the 3rd optimizer step on
FAULT=update:3     the 3rd update of the weights runs out of memory, once
FAULT=nan:3        the loss is NaN from the 3rd optimizer step on
FAULT=end          killed when the adapter's folder is to be written
FAULT=disk:100000  no file may grow beyond so many bytes
"""

from __future__ import annotations

import os
import signal
from typing import Any


def main() -> None:
    kind, *numbers = os.environ["FAULT"].split(":")
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
    from fintunnel.cli import main as command

    command()


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
        return loss

    SFTTrainer.training_step = broken


if __name__ == "__main__":
    main()
