"""One sitting of a training run: from its checkpoint, through signals and full memory, to the end."""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fintunnel_training.base import LoadedBase
from fintunnel_training.errors import TrainingError
from fintunnel_training.qlora.checkpoints import Best, Checkpoint, Record, keep_newest, seal
from fintunnel_training.qlora.distributed import barrier, is_main, processes
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.mirror import Mirror
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.run_folder import RunFolder

__all__ = ["Session"]

_BEST = "best_adapter.safetensors"


class Session:
    """Trains, and knows what a checkpoint and the evidence have to say of it: `seconds`, `events`, `best`."""

    def __init__(
        self,
        run: RunFolder,
        base: LoadedBase,
        encoded: EncodedRows,
        evaluated: EncodedRows | None,
        options: TrainOptions,
        identity: dict[str, Any],
        mirror: Path | None,
        start: Checkpoint | None,
    ) -> None:
        self.identity = identity
        self.batch_size = options.recipe.batch_size
        self.accumulation = options.recipe.accumulation
        self.events: list[dict[str, Any]] = []
        self.best: Best | None = None
        self._run, self._base, self._options = run, base, options
        self._encoded, self._evaluated = encoded, evaluated
        self._mirror = Mirror(mirror) if mirror is not None and is_main() else None
        self._last = start
        self._seconds_before, self._began = 0.0, time.monotonic()
        self._best_weights: dict[str, Any] | None = None
        self._keeper: Any = None
        if start is not None:
            self._go_on_from(start)

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def train(self) -> Any:
        """Train to the end; the trainer then holds the adapter that is to be written.

        Raises:
            KeyboardInterrupt, SystemExit: asked to stop by Ctrl-C, by SIGTERM; a checkpoint has been saved.
            TrainingError: the loss became NaN, or not even one row fits into memory.
        """
        from fintunnel_training.qlora.callbacks import asked_to_stop

        self._began = time.monotonic()
        try:
            with asked_to_stop(_say) as asked:
                trainer = None
                while trainer is None:
                    trainer = self._train_until_memory_is_full(asked)
        finally:
            if self._mirror is not None:
                self._mirror.close()
        if asked.is_set() and trainer.state.global_step < trainer.state.max_steps:
            _say(f"已在第 {trainer.state.global_step} 步保存检查点。再次运行同一条命令，就从这里接着训练。")
            if asked.signal == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + asked.signal)
        if self._keeper is not None and self._keeper.best is not None:
            self.best = self._keeper.best
            _put_weights(trainer.model, self._keeper.weights)
        return trainer

    def _train_until_memory_is_full(self, asked: Any) -> Any:
        """The trainer at its end; None where it has to be built again with smaller batches."""
        import torch

        trainer = self._build(asked)
        if self._last is not None:
            trainer._total_train_tokens = _tokens_so_far(self._last)  # the one count that trl does not carry over
        full = False
        try:
            trainer.train(resume_from_checkpoint=str(self._last.path) if self._last else None)
        except torch.OutOfMemoryError:
            full = True
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            full = True
        if not full:
            return trainer
        if processes() > 1:  # the others are waiting for this one's gradients
            raise TrainingError(
                f"内存不足。多个进程时批大小不会自动减小，请把 --batch-size（现在 {self.batch_size}）减半。"
            )
        # Outside of the except clause: there the traceback still holds the step's tensors.
        self._shrink(trainer)
        return None

    def _shrink(self, trainer: Any) -> None:
        import torch

        step = trainer.state.global_step
        trainer.model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if step > (self._last.step if self._last else 0):
            trainer._save_checkpoint(trainer.model, trial=None)
            self._seal(self._run.writing / f"checkpoint-{step}", step)
        if self.batch_size == 1:
            raise TrainingError(
                f"第 {step + 1} 步：一条样本也放不进内存。请依次试：调小 --max-length"
                f"（现在 {self._options.recipe.max_length}）、--targets attention、调小 --lora-r，"
                "或换更小的基座；改动后加 --resume never。" + self._describe_last()
            )
        # Half, or the next smaller divisor: the rows of a step stay the same.
        smaller = next(size for size in range(self.batch_size // 2, 0, -1) if self.batch_size % size == 0)
        self.accumulation *= self.batch_size // smaller
        self.batch_size = smaller
        self.events.append(
            {"event": "out_of_memory", "step": step, "batch_size": self.batch_size, "accumulation": self.accumulation}
        )
        _say(
            f"第 {step + 1} 步内存不足：批大小减为 {self.batch_size}，累积增为 {self.accumulation}"
            "（每步的样本数不变），继续训练。"
        )
        self._base = replace(self._base, model=trainer.model.unload())

    def _build(self, asked: Any) -> Any:
        from fintunnel_training.qlora.callbacks import (
            BestAdapter,
            EvaluateAtEnd,
            LiveLog,
            Sealer,
            StopOnNaN,
            StopWhenAsked,
        )
        from fintunnel_training.qlora.progress import ProgressCallback
        from fintunnel_training.qlora.trainer import build_trainer

        recipe = self._options.recipe.model_copy(
            update={"batch_size": self.batch_size, "accumulation": self.accumulation}
        )
        callbacks: list[Any] = [StopOnNaN(self._describe_last), StopWhenAsked(asked), Sealer(self._seal)]
        if is_main():
            callbacks += [LiveLog(self._run.path), ProgressCallback(tokens_per_epoch=self._encoded.tokens)]
        if self._evaluated is not None:
            callbacks.append(EvaluateAtEnd())
            if recipe.early_stopping is not None:
                self._keeper = BestAdapter(recipe.early_stopping, self.best, self._best_weights)
                callbacks.append(self._keeper)
        return build_trainer(
            self._base,
            self._encoded,
            self._evaluated,
            recipe,
            writing=self._run.writing,
            save_steps=self._options.save_steps,
            callbacks=callbacks,
            report_to=self._options.report_to,
            processes=processes(),
        )

    def _seal(self, written: Path, step: int) -> None:
        barrier()  # every process writes its own random state
        if is_main():
            best = self._keeper.best if self._keeper is not None else None
            if best is not None:
                from safetensors.torch import save_file

                save_file(self._keeper.weights, written / _BEST)
            record = Record(
                step=step,
                identity=self.identity,
                batch_size=self.batch_size,
                accumulation=self.accumulation,
                seconds=round(self.seconds, 1),
                best=best,
                events=self.events,
            )
            self._last = seal(written, self._run.checkpoints, record)
            keep_newest(self._run.checkpoints, but=self._mirror.copying if self._mirror else None)
            if self._mirror is not None:
                self._mirror.add(self._last)
        barrier()

    def _go_on_from(self, start: Checkpoint) -> None:
        record = start.record
        self.batch_size, self.accumulation = record.batch_size, record.accumulation
        self._seconds_before = record.seconds
        self.events = [*record.events, {"event": "resumed", "step": start.step}]
        if record.best is not None:
            from safetensors.torch import load_file

            self.best, self._best_weights = record.best, load_file(start.path / _BEST)
        state = json.loads((start.path / "trainer_state.json").read_text(encoding="utf-8"))
        _say(f"从第 {start.step} 步的检查点接着训练（共 {state['max_steps']} 步，已用 {record.seconds:.0f} 秒）。")

    def _describe_last(self) -> str:
        if self._last is None:
            return "还没有检查点。"
        return f"最近一个完好的检查点是第 {self._last.step} 步：{self._last.path}。"


def _tokens_so_far(checkpoint: Checkpoint) -> int:
    state = json.loads((checkpoint.path / "trainer_state.json").read_text(encoding="utf-8"))
    return int(max((entry.get("num_tokens", 0) for entry in state["log_history"]), default=0))


def _put_weights(model: Any, weights: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])


def _say(text: str) -> None:
    if is_main():
        sys.stderr.write(text + "\n")
