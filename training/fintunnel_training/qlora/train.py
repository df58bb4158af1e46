"""The QLoRA recipe, top to bottom: instruction file → 4-bit base → LoRA adapter folder.

Dettmers et al. (2023), "QLoRA": the base frozen in NF4 with double quantisation, low-rank adapters on every
linear layer trained in float32. The loss is on the answers alone.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from fintunnel.terminal_text import system_reason

from fintunnel_training.atomic_files import replaced_name
from fintunnel_training.base import LoadedBase, cuda_capability, load_base, load_tokenizer, resolve_base
from fintunnel_training.errors import DataError, OptionError
from fintunnel_training.instructions import InstructionFile, read_instructions, split_paths
from fintunnel_training.option_paths import usable_path
from fintunnel_training.qlora.adapter_folder import put_in_place, write_adapter_folder
from fintunnel_training.qlora.checkpoints import Checkpoint
from fintunnel_training.qlora.distributed import check_launcher, from_main, is_main, local_rank, processes, said_once
from fintunnel_training.qlora.encoding import EncodedRows, encode_rows
from fintunnel_training.qlora.estimate import Estimate, describe, estimate, free_bytes, read_shape
from fintunnel_training.qlora.finished_run import copy_to_mirror, place_finished_adapter
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.preflight import check_prompts, check_tokens
from fintunnel_training.qlora.process_memory import keep_freed_memory
from fintunnel_training.qlora.recipe import Recipe
from fintunnel_training.qlora.run_folder import RunFolder, check_mirror, open_run_folder
from fintunnel_training.qlora.session import Session

__all__ = ["train"]


def train(options: TrainOptions) -> Path:
    """Train an adapter and write its folder to `options.out`, complete or not at all.

    A run that was ended before, by whatever, goes on from its newest whole checkpoint.

    Raises:
        OptionError: there are checkpoints of another run.
        TrainingError: the data, the base or the target folder cannot be used, the loss became NaN, or the memory
            does not suffice for a single row.
        KeyboardInterrupt: asked to stop; a checkpoint has been saved.
    """
    check_launcher()
    out, mirror = _places(options)
    if options.dry_run:
        if is_main():
            recipe = options.recipe
            _say(
                f"基座 {options.base}，预设 {options.preset}：批大小 {recipe.batch_size}×{recipe.accumulation}，"
                f"每条最多 {recipe.max_length} 个 token，学习率 {recipe.learning_rate:g}，{recipe.quantization}"
            )
            _prepare(options)
            _say("没有加载基座，也没有训练。要训练：同一条命令，去掉 --dry-run。")
        return options.out
    if "tensorboard" in options.report_to:
        # By itself it writes where the trainer does, and that goes at the end.
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out.with_name(f"{out.name}-tensorboard")))
    recipe = options.recipe
    keep_freed_memory()
    with ExitStack() as stack:

        def begin() -> tuple[RunFolder, _Rows]:
            return stack.enter_context(open_run_folder(out)), _prepare(options)

        # Of several processes the first one keeps the folder; the others only read in it.
        run, rows = from_main(begin)
        _say(f"加载基座 {options.base}（{recipe.quantization}）…")
        base = load_base(options.base, recipe.quantization)
        identity = _identity(rows, base, recipe)
        if from_main(lambda: options.resume == "auto" and place_finished_adapter(run, out, identity, mirror)):
            _say(f"{options.out} 已经用同样的数据、基座和参数训练完成。要重新训练，请加 --resume never。")
            return options.out
        start = from_main(lambda: _find_start(run, identity, mirror) if options.resume == "auto" else None)
        session = Session(run, base, rows.encoded, rows.evaluated, options, identity, mirror, start)
        trainer = session.train()

        def finish() -> None:
            write_adapter_folder(
                run.adapter,
                trainer,
                base=base,
                data=rows.data,
                encoded=rows.encoded,
                options=options,
                session=session,
                estimated=rows.estimated,
            )
            is_mirrored = mirror is not None and copy_to_mirror(run.adapter, mirror)
            put_in_place(run.adapter, out)
            run.forget_checkpoints(mirror if is_mirrored else None, identity)

        from_main(finish)
    return options.out


# --- the parts --------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    data: InstructionFile
    encoded: EncodedRows
    evaluation: InstructionFile | None
    evaluated: EncodedRows | None
    estimated: Estimate


def _places(options: TrainOptions) -> tuple[Path, Path | None]:
    """Where the adapter goes, and this run's copies of checkpoints."""
    try:
        usable_path(options.data, "--data")
        out = usable_path(options.out, "--out")
        usable_path(replaced_name(out), "--out")
        mirror = None
        if options.mirror is not None:
            mirror = usable_path(options.mirror / out.name, "--mirror")
            check_mirror(mirror, out)
            _use_mirror(options.mirror, make=not options.dry_run)
    except OptionError as error:
        raise said_once(error) from error.__cause__
    return out, mirror


def _use_mirror(mirror: Path, *, make: bool) -> None:
    """Nothing above it is made: where Drive is not mounted, copies would go to a disk that is lost with the runtime."""
    if not mirror.absolute().parent.is_dir():
        raise OptionError(
            f"--mirror 的上级 {mirror.absolute().parent} 不是目录或不存在。是 Google Drive 的话，请先挂载。"
        )
    try:
        if make:
            mirror.mkdir(exist_ok=True)
    except OSError as error:
        raise OptionError(f"无法使用 --mirror {mirror}：{system_reason(error)}") from error


def _prepare(options: TrainOptions) -> _Rows:
    """Everything that can be known, and can go wrong, before the base's weights are loaded."""
    recipe = options.recipe
    data = read_instructions(options.data)
    check_prompts(data.rows)
    evaluation = _read_evaluation(options)
    if recipe.early_stopping is not None and evaluation is None:
        raise OptionError("--early-stopping 要有验证集：X.val.jsonl 或 --eval-data，且 --eval-rows 大于 0。")
    _check_trackers(options.report_to)
    resolved = resolve_base(options.base)
    tokenizer = load_tokenizer(resolved)
    encoded = encode_rows(data.rows, tokenizer, recipe.max_length)
    check_tokens(encoded, tokenizer)
    evaluated = _encode_evaluation(evaluation, tokenizer, recipe)
    _say(
        f"{len(encoded.rows)} 条样本、{encoded.tokens} 个 token（其中 {encoded.shortened} 条的正文被缩短）；"
        f"评估 {len(evaluated.rows) if evaluated else 0} 条"
    )
    if encoded.dropped:
        _say(f"注意：{encoded.dropped} 条放不进 {recipe.max_length} 个 token，已去掉。可调大 --max-length。")
    device = "cpu" if cuda_capability() is None else f"cuda:{local_rank()}"
    estimated = estimate(read_shape(resolved, recipe), recipe, encoded, on_gpu=device != "cpu", processes=processes())
    for line in describe(estimated, *free_bytes(device)):
        _say(line)
    return _Rows(data, encoded, evaluation, evaluated, estimated)


def _check_trackers(names: Sequence[str]) -> None:
    if not names:
        return
    from transformers.integrations import get_available_reporting_integrations

    for name in names:
        if name not in get_available_reporting_integrations():
            raise OptionError(f"--report-to {name[:40]} 不能用：没有这个记录工具，或还没有用 pip 安装。")


def _read_evaluation(options: TrainOptions) -> InstructionFile | None:
    """The validation file: what was named, or the one beside the data."""
    path = options.eval_data or split_paths(options.data)["val"]
    if options.recipe.eval_rows == 0 or (options.eval_data is None and not path.is_file()):
        return None
    data = read_instructions(path)
    check_prompts(data.rows)
    return data


def _encode_evaluation(data: InstructionFile | None, tokenizer: Any, recipe: Recipe) -> EncodedRows | None:
    if data is None:
        return None
    count = min(recipe.eval_rows, len(data.rows))
    chosen = sorted(random.Random(0).sample(range(len(data.rows)), count))  # the same for every seed
    try:
        return encode_rows([data.rows[index] for index in chosen], tokenizer, recipe.max_length)
    except DataError:
        _say(f"注意：验证集的行都放不进 {recipe.max_length} 个 token，训练中不做评估。")
        return None


def _identity(rows: _Rows, base: LoadedBase, recipe: Recipe) -> dict[str, Any]:
    """What must be the same for a run to go on. How the rows of a step are divided may differ: out of memory, a run
    goes on with smaller batches."""
    knobs = recipe.model_dump(mode="json")
    for name in ("gradient_checkpointing", "save_steps"):  # change memory, time and safety, not the adapter
        del knobs[name]
    if base.device == "cpu":
        knobs["optimizer"] = "adamw"  # whatever was asked for: its states are not those of 8 bits
    knobs["rows_per_step"] = knobs.pop("batch_size") * knobs.pop("accumulation") * processes()
    return {
        "data_sha256": rows.data.sha256,
        "eval_sha256": rows.evaluation.sha256 if rows.evaluation else None,
        "base": hashlib.sha256(base.info.model_dump_json(exclude={"source", "id", "revision"}).encode()).hexdigest(),
        "precision": base.precision.dtype,
        "recipe": knobs,
    }


def _find_start(run: RunFolder, identity: dict[str, Any], mirror: Path | None) -> Checkpoint | None:
    start, faults = run.start_from(identity, mirror)
    for fault in faults:
        _say(f"注意：跳过不完整的检查点 {fault}")
    return start


def _say(text: str) -> None:
    if is_main():
        sys.stderr.write(text + "\n")
