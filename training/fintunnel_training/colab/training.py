"""Dry run and training, with the loss curve in the cell; what is finished goes to the folder that stays."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from fintunnel_training.adapter import MANIFEST, read_adapter
from fintunnel_training.base import DEFAULT_HUB_BASE, EMBEDDED
from fintunnel_training.colab.commands import run_fintunnel
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import AUTO, Form
from fintunnel_training.colab.install import has_gpu
from fintunnel_training.colab.keys import Keys
from fintunnel_training.colab.places import Places, copy_folder
from fintunnel_training.colab.sections import Section
from fintunnel_training.colab.showing import LivePicture
from fintunnel_training.errors import AdapterError, TrainingError
from fintunnel_training.instructions import read_instructions
from fintunnel_training.qlora.evidence import read_training_info
from fintunnel_training.qlora.recipe import PRESETS, load_recipe
from fintunnel_training.serving import base_of

__all__ = ["base_for", "dry_run", "train"]

_OTHER = "要保留它，请把 FOLDER 换成新的目录；要接着用它，请把参数改回去。原来的都还在，没有动过。"
_OUT_OF_MEMORY = "显存不够时会自动减小批；仍不够就把 MAX_LENGTH 改为 256，已经开始训练的还要换一个 FOLDER。"
_ADVICE = (
    f"断线或中断：再运行这一格，从最新的检查点继续。{_OUT_OF_MEMORY}"
    "说检查点属于另一次训练：把参数改回去，或把 FOLDER 换成新的目录。"
)


def base_for(form: Form) -> str:
    if form.base != AUTO:
        return form.base
    return DEFAULT_HUB_BASE if has_gpu() else EMBEDDED


def dry_run(form: Form, places: Places, keys: Keys) -> None:
    """Memory, steps and tokens, without the base's weights."""
    _check_data(places)
    run_fintunnel(*_arguments(form, places), "--dry-run", environment=keys.hub, advice=_OUT_OF_MEMORY)


def train(form: Form, places: Places, keys: Keys) -> None:
    """Train, or go on, or find it done; then keep the adapter.

    Raises:
        CellError: an adapter of other parameters lies there already, or training failed.
        KeyboardInterrupt: the cell was stopped; the next run goes on.
    """
    _check_data(places)
    places.check()
    if not (places.adapter / MANIFEST).is_file() and (places.saved / MANIFEST).is_file():
        copy_folder(places.saved, places.adapter)  # a new runtime: `fintunnel train` sees that it is done
    try:
        _check_same(form, places)
    except TrainingError as error:
        raise CellError(f"{error}。请改好表单或指令集，再运行这一格。") from None
    mirror = [] if places.work == places.folder else ["--mirror", str(places.checkpoints)]
    calibrate = [] if form.calibrate else ["--no-calibrate"]
    picture = LivePicture(places.live_curve, "损失曲线：最初几步之后出现")
    run_fintunnel(
        *(*_arguments(form, places), *mirror, *calibrate),
        environment=keys.hub,
        advice=_ADVICE,
        meanwhile=picture.update,
    )
    picture.show(places.adapter / "loss_curve.png")
    copy_folder(places.adapter, places.saved)
    try:
        read_adapter(places.saved, allow_unverified=True)
    except AdapterError as error:
        raise CellError(f"保存的适配器不对：{error}。请删掉 {places.saved} 再运行这一格。") from None
    if places.saved != places.adapter:
        shutil.rmtree(places.checkpoints, ignore_errors=True)  # `--mirror` kept the adapter there until now
    sys.stdout.write(f"适配器存在 {places.saved}\n")


def _arguments(form: Form, places: Places) -> list[str]:
    arguments = ["train", "--data", str(places.instructions), "--base", base_for(form), "--out", str(places.adapter)]
    arguments += ["--epochs", f"{form.epochs:g}"]
    info = read_training_info(places.adapter)
    if info is not None and info.options.get("preset") in PRESETS:
        # A finished adapter stays finished on another kind of GPU, too.
        arguments += ["--preset", info.options["preset"]]
    for name in ("learning_rate", "batch_size", "max_length", "max_steps"):
        if value := getattr(form, name):
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def _check_data(places: Places) -> None:
    if not places.instructions.is_file():
        raise CellError(f"还没有 {places.instructions}：请先运行{Section.DATA}和{Section.DATASET}。")


def _check_same(form: Form, places: Places) -> None:
    """Raise CellError where the adapter that is there was trained otherwise: training would replace it."""
    info = read_training_info(places.adapter)
    if info is None:
        return
    names = {"epochs", "batch_size", "max_length", "learning_rate", "max_steps"}
    wanted: dict[str, object] = {name: value or None for name, value in form.model_dump(include=names).items()}
    if info.options.get("preset") in PRESETS:  # 0 asks for its values
        wanted = load_recipe(info.options["preset"], wanted).model_dump(include=names)
    differing = [
        f"{name.upper()} 原来 {info.options.get(name) or 0}，现在 {value or 0}"
        for name, value in wanted.items()
        if info.options.get(name) != value
    ]
    base = _base_of(places.adapter)
    if base not in (None, base_for(form)):
        differing.append(f"BASE 原来 {base}，现在 {base_for(form)}")
    if info.identity.get("data_sha256") not in (None, read_instructions(places.instructions).sha256):
        differing.append("指令集的内容变了")
    if differing:
        raise CellError(f"{places.saved} 里已有训练好的适配器，参数不同：{'；'.join(differing)}。{_OTHER}")


def _base_of(adapter: Path) -> str | None:
    """None where only the person knows it."""
    try:
        return base_of(read_adapter(adapter, allow_unverified=True))
    except TrainingError:
        return None
