"""The progress bar of training: step, loss, tokens a second, time left."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

__all__ = ["ProgressCallback"]

# The first step warms up caches and kernels; the next ones say how long the rest will take.
_WARM, _MEASURED = 1, 4


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers' classes are untyped here
    def __init__(self, tokens_per_epoch: int) -> None:
        self._tokens_per_epoch = tokens_per_epoch
        self._bar: Any = None
        self._started = 0.0
        self._first_step = 0
        self._first_epoch = 0.0
        self._warm_at = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self._started = time.monotonic()
        self._first_step, self._first_epoch = state.global_step, state.epoch or 0.0
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="训练", unit="步", mininterval=1.0, smoothing=0.1
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self._bar.update(state.global_step - self._bar.n)
        done = state.global_step - self._first_step
        if done == _WARM:
            self._warm_at = time.monotonic()
        elif done == _MEASURED and state.max_steps > state.global_step:
            seconds = (time.monotonic() - self._warm_at) / (_MEASURED - _WARM)
            left = seconds * (state.max_steps - state.global_step)
            self._bar.write(
                f"按最初几步估计：{seconds:.1f} 秒/步，还需约 {_duration(left)}（不含评估和保存）", file=sys.stderr
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        logs = logs or {}
        if "eval_loss" in logs:
            self._bar.write(f"第 {state.global_step} 步：验证集 loss {logs['eval_loss']:.3f}", file=sys.stderr)
        if "loss" not in logs:
            return
        done = self._tokens_per_epoch * ((state.epoch or 0.0) - self._first_epoch)
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"loss {logs['loss']:.3f}，{rate:.0f} token/s", refresh=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} 秒"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} 分钟"
    return f"{seconds / 3600:.1f} 小时"
