"""What happens between the steps: sealing checkpoints, the live log, stopping early, stopping when asked."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fintunnel.atomic_file import replacing_file
from transformers import TrainerCallback

from fintunnel_training.errors import TrainingError
from fintunnel_training.qlora.checkpoints import Best
from fintunnel_training.qlora.distributed import highest_of_all, is_main, said_once
from fintunnel_training.qlora.evidence import log_line, plot_loss

__all__ = ["Asked", "BestAdapter", "LiveLog", "Sealer", "StopOnNaN", "StopWhenAsked", "WhereInStep", "asked_to_stop"]

_CURVE_EVERY_SECONDS = 15.0
_STOPPING = "\n收到停止请求：这一步结束后保存检查点并退出，再按一次立即退出 …\n"


class StopOnNaN(TrainerCallback):  # type: ignore[misc]  # transformers' classes are untyped here
    """Ends the run at the first loss that is no number, before it can reach a checkpoint."""

    def __init__(self, describe_last: Callable[[], str]) -> None:
        self._describe_last = describe_last

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        for name in ("loss", "eval_loss"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(value):
                # Losses are averaged over the processes before they are logged: all of them see it.
                raise said_once(
                    TrainingError(
                        f"第 {state.global_step} 步的 {name} 变成了 {value}，已停止。{self._describe_last()}"
                        "请把 --learning-rate 减半，加 --resume never 重新训练。"
                    )
                )


class Sealer(TrainerCallback):  # type: ignore[misc]
    """Calls `seal` with the folder that the trainer has just written."""

    def __init__(self, seal: Callable[[Path, int], object]) -> None:
        self._seal = seal

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del control, kwargs
        state.save_steps = args.save_steps  # a checkpoint's own would win otherwise

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del control, kwargs
        self._seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)


class LiveLog(TrainerCallback):  # type: ignore[misc]
    """`log_history.jsonl` and `loss_curve.png`, kept up while training runs, for a notebook cell or a viewer."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log_history.jsonl"
        self._curve = folder / "loss_curve.png"
        self._drawn = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        # Anew from the state: what a killed run logged after its last checkpoint is trained and logged again.
        with suppress(OSError):
            self._log.write_text("".join(log_line(entry) for entry in state.log_history), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        if not logs:
            return
        with suppress(OSError):  # a picture that a viewer holds open must not end a run
            with self._log.open("a", encoding="utf-8") as file:
                file.write(log_line(state.log_history[-1]))
            if time.monotonic() - self._drawn >= _CURVE_EVERY_SECONDS:
                self._drawn = time.monotonic()
                with replacing_file(self._curve) as partial:
                    plot_loss(state.log_history, partial)


class BestAdapter(TrainerCallback):  # type: ignore[misc]
    """Keeps the adapter of the best evaluation, and ends the run after `patience` evaluations without a better one."""

    def __init__(self, patience: int, best: Best | None, weights: dict[str, Any] | None) -> None:
        self.best = best
        self.weights = weights
        """trainable weights by name, on the CPU"""
        self._patience = patience

    @property
    def is_over(self) -> bool:
        return self.best is not None and self.best.worse_since >= self._patience

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **kwargs: Any) -> None:
        del args
        loss = metrics["eval_loss"]
        if self.best is None or loss < self.best.eval_loss:
            self.best = Best(step=state.global_step, eval_loss=loss)
            self.weights = {
                name: parameter.detach().to("cpu", copy=True)
                for name, parameter in kwargs["model"].named_parameters()
                if parameter.requires_grad
            }
            return
        self.best = self.best.model_copy(update={"worse_since": self.best.worse_since + 1})
        if self.is_over:
            control.should_training_stop = True


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]
    """After Ctrl-C or SIGTERM: finishes the step, saves, and ends the run. `stopped_by`: the signal, once it has."""

    def __init__(self, asked: Asked) -> None:
        self.stopped_by = 0
        self._asked = asked

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del kwargs
        # All processes at the same step, whichever of them got the signal.
        number = highest_of_all(self._asked.signal, args.device)
        if number and state.global_step < state.max_steps:
            self.stopped_by = number
            control.should_save = True
            control.should_training_stop = True


class WhereInStep(TrainerCallback):  # type: ignore[misc]
    """Whether the weights are those of the last finished step: not so while the optimizer moves them."""

    def __init__(self) -> None:
        self.is_before_update = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        self.is_before_update = True

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        self.is_before_update = False


class Asked:
    """`signal`: the number of the signal that asked to stop; 0 while none has."""

    def __init__(self) -> None:
        self.signal = 0


@contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """While inside, the first Ctrl-C or SIGTERM is noted; a second one ends the process as usual."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        del frame
        asked.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)
        # Not through the buffered stream: the signal may have come in the midst of a write to it.
        if is_main():
            os.write(2, _STOPPING.encode(getattr(sys.stderr, "encoding", None) or "utf-8", "replace"))

    try:
        for number in before:
            signal.signal(number, ask)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
