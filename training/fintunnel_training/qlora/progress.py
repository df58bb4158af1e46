"""The progress bar of training: step, loss, tokens a second, time left. Stops a run whose loss is NaN."""

from __future__ import annotations

import math
import time
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from fintunnel_training.errors import TrainingError

__all__ = ["ProgressCallback"]


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers' classes are untyped here
    def __init__(self, tokens_per_epoch: int) -> None:
        self._tokens_per_epoch = tokens_per_epoch
        self._bar: Any = None
        self._started = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self._started = time.monotonic()
        self._bar = tqdm(total=state.max_steps, desc="训练", unit="步", mininterval=1.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise TrainingError(
                f"第 {state.global_step} 步的损失变成了 {loss}，已停止。请把 --learning-rate 减半后重新训练。"
            )
        done = self._tokens_per_epoch * (state.epoch or 0.0)
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"loss {loss:.3f}，{rate:.0f} token/s", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        self._bar.close()
