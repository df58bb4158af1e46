"""One sitting of a training run: from its checkpoint, through signals and full memory, to the end."""

from __future__ import annotations

import gc
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fintunnel_training.base import LoadedBase
from fintunnel_training.errors import TrainingError
from fintunnel_training.qlora.checkpoints import Best, Checkpoint, Record, keep_newest, seal, writing_checkpoint
from fintunnel_training.qlora.distributed import barrier, from_main, is_main, processes, raise_lost_process
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.evidence import peak_memory_gib
from fintunnel_training.qlora.mirror import MIRROR_SECONDS, Mirror
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.resuming import BEST, put_weights, resumed_keeper, tokens_so_far, trainer_state
from fintunnel_training.qlora.run_folder import RunFolder

__all__ = ["Session", "is_out_of_memory"]


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
        self._fresh = options.resume == "never"
        self._seconds_before, self._began = 0.0, time.monotonic()
        self._peak_before = 0.0
        self._where: Any = None
        self._progress: Any = None
        self._keeper = resumed_keeper(start, options) if evaluated is not None else None
        if start is not None:
            self._go_on_from(start)

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    @property
    def peak_memory_gib(self) -> float:
        return round(max(self._peak_before, peak_memory_gib(self._base.device)), 2)

    def train(self) -> Any:
        """Train to the end; the trainer then holds the adapter that is to be written.

        Raises:
            KeyboardInterrupt, SystemExit: asked to stop by Ctrl-C, by SIGTERM; a checkpoint has been saved.
            TrainingError: the loss became NaN, or not even one row fits into memory.
        """
        from fintunnel_training.qlora.callbacks import StopWhenAsked, asked_to_stop

        self._began = time.monotonic()
        patience = MIRROR_SECONDS
        try:
            with asked_to_stop() as asked:
                stopper = StopWhenAsked(asked)
                trainer = self._trained_already(stopper) if self._is_at_end() else None
                while trainer is None:
                    trainer = self._train_until_memory_is_full(stopper)
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C for the second time
            patience = 0.0
            raise
        finally:
            if self._mirror is not None:
                self._mirror.close(patience)
        if stopper.stopped_by:
            _say(f"已在第 {trainer.state.global_step} 步保存检查点。再次运行同一条命令，就从这里接着训练。")
            if stopper.stopped_by == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + stopper.stopped_by)
        if self._keeper is not None and self._keeper.best is not None:
            self.best = self._keeper.best
            put_weights(trainer.model, self._keeper.weights)
        return trainer

    def _is_at_end(self) -> bool:
        """Whether the checkpoint is the last one: all that is left is to write the adapter."""
        if self._last is None:
            return False
        state = trainer_state(self._last)
        return (self._keeper is not None and self._keeper.is_over) or self._last.step >= int(state["max_steps"])

    def _trained_already(self, stopper: Any) -> Any:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file
        from transformers import TrainerState

        assert self._last is not None
        trainer = self._build(stopper)
        set_peft_model_state_dict(trainer.model, load_file(self._last.path / "adapter_model.safetensors"))
        trainer.state = TrainerState.load_from_json(str(self._last.path / "trainer_state.json"))
        return trainer

    def _train_until_memory_is_full(self, stopper: Any) -> Any:
        """The trainer at its end; None where it has to be built again with smaller batches."""
        import torch

        trainer = self._build(stopper)
        if self._fresh and is_main():  # only now: until here anything might have been wrong
            self._run.forget_checkpoints(self._mirror.place if self._mirror else None, self.identity)
        self._fresh = False
        if self._last is not None:
            trainer._total_train_tokens = tokens_so_far(self._last)  # the one count that trl does not carry over
        full = False
        try:
            trainer.train(resume_from_checkpoint=str(self._last.path) if self._last else None)
        except torch.OutOfMemoryError:
            full = True
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise_lost_process(error, self._describe_last())
                raise
            full = True
        finally:
            if self._progress is not None:
                self._progress.close()  # so that what is said next stands on a line of its own
        if not full:
            return trainer
        if processes() > 1:  # the others are waiting for this one's gradients
            raise TrainingError("内存不足。多个进程时批大小不会自动减小，请调小 --batch-size。")
        # Outside of the except clause: there the traceback still holds the step's tensors.
        self._shrink(trainer)
        del trainer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _shrink(self, trainer: Any) -> None:
        import torch
        from transformers.integrations.neftune import deactivate_neftune

        step = trainer.state.global_step
        trainer.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        # In the midst of an update or an evaluation the state is no step's: the last checkpoint has to do.
        if self._where.is_before_update and step > (self._last.step if self._last else 0):
            trainer._save_checkpoint(trainer.model, trial=None)
            self._seal(self._run.writing / f"checkpoint-{step}", step)
        if self.batch_size == 1:
            raise TrainingError(
                f"第 {step + 1} 步：一条样本也放不进内存。请依次试：调小 --max-length"
                f"（现在 {self._options.recipe.max_length}）、--targets attention、调小 --lora-r，"
                "或换更小的基座；这些改动要加 --resume never 从头训练。" + self._describe_last()
            )
        # Half, or the next smaller divisor: the rows of a step stay the same.
        self._divide(self.batch_size // 2)
        self.events.append(
            {"event": "out_of_memory", "step": step, "batch_size": self.batch_size, "accumulation": self.accumulation}
        )
        _say(
            f"第 {step + 1} 步内存不足：批大小减为 {self.batch_size}，累积增为 {self.accumulation}"
            "（每步的样本数不变），继续训练。"
        )
        if trainer.neftune_noise_alpha is not None:
            deactivate_neftune(trainer.model, trainer.neftune_hook_handle, trainer.accelerator)
        self._base = replace(self._base, model=trainer.model.unload())
        if self._keeper is not None:  # of evaluations after the checkpoint it knows nothing any more
            self._keeper = resumed_keeper(self._last, self._options)

    def _divide(self, at_most: int) -> None:
        """Divide the rows of a step into batches of at most so many."""
        rows = self._options.recipe.batch_size * self._options.recipe.accumulation
        self.batch_size = next(size for size in range(at_most, 0, -1) if rows % size == 0)
        self.accumulation = rows // self.batch_size

    def _build(self, stopper: Any) -> Any:
        from fintunnel_training.qlora.callbacks import LiveLog, Sealer, StopOnNaN, WhereInStep
        from fintunnel_training.qlora.progress import ProgressCallback
        from fintunnel_training.qlora.trainer import build_trainer

        recipe = self._options.recipe.model_copy(
            update={"batch_size": self.batch_size, "accumulation": self.accumulation}
        )
        self._where = WhereInStep()
        callbacks: list[Any] = [StopOnNaN(self._describe_last), stopper, self._where, Sealer(self._seal)]
        if is_main():
            self._progress = ProgressCallback(tokens_per_epoch=self._encoded.tokens)
            callbacks += [LiveLog(self._run.path), self._progress]
        if self._keeper is not None:
            callbacks.append(self._keeper)
        return build_trainer(
            self._base,
            self._encoded,
            self._evaluated,
            recipe,
            writing=self._run.writing,
            callbacks=callbacks,
            report_to=self._options.report_to,
            processes=processes(),
        )

    def _seal(self, written: Path, step: int) -> None:
        barrier()  # every process writes its own random state
        self._last = from_main(lambda: self._sealed(written, step))

    def _sealed(self, written: Path, step: int) -> Checkpoint:
        with writing_checkpoint(step, self._run.path):
            checkpoint = seal(written, self._run.checkpoints, self._record(written, step))
        copying = self._mirror.copying if self._mirror else None
        keep_newest(self._run.checkpoints, checkpoint.path, copying)
        if self._mirror is not None:
            self._mirror.add(checkpoint)
        return checkpoint

    def _record(self, written: Path, step: int) -> Record:
        best = None
        if self._keeper is not None and self._keeper.best is not None:
            best = self._keeper.best
            from safetensors.torch import save_file

            save_file(self._keeper.weights, written / BEST)
        return Record(
            step=step,
            identity=self.identity,
            batch_size=self.batch_size,
            accumulation=self.accumulation,
            seconds=round(self.seconds, 1),
            peak_memory_gib=self.peak_memory_gib,
            best=best,
            events=self.events,
        )

    def _go_on_from(self, start: Checkpoint) -> None:
        record = start.record
        # What once was too large is not tried again; what is asked to be smaller is.
        self._divide(min(record.batch_size, self._options.recipe.batch_size))
        self._seconds_before, self._peak_before = record.seconds, record.peak_memory_gib
        self.events = [*record.events, {"event": "resumed", "step": start.step}]
        steps = trainer_state(start)["max_steps"]
        _say(f"从第 {start.step} 步的检查点接着训练（共 {steps} 步，已用 {record.seconds:.0f} 秒）。")

    def _describe_last(self) -> str:
        if self._last is None:
            return "还没有检查点。"
        return f"最近一个完好的检查点是第 {self._last.step} 步：{self._last.path}。"


def is_out_of_memory(error: RuntimeError) -> bool:
    """torch's allocator on a CPU, the CUDA driver, Triton's kernels, cuBLAS: each has its own words."""
    words = str(error).lower()
    return any(each in words for each in ("defaultcpuallocator", "out of memory", "alloc_failed"))


def _say(text: str) -> None:
    if is_main():
        sys.stderr.write(text + "\n")
