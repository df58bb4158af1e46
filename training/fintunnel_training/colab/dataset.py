"""Gets the instruction set: the one that is there, or one built from a database."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fintunnel_training.adapter import file_sha256
from fintunnel_training.colab import drive
from fintunnel_training.colab.commands import run_fintunnel
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import SAMPLE, UPLOAD, Form
from fintunnel_training.colab.places import Places, copy_file
from fintunnel_training.colab.sections import Section
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import card_path, read_instructions, split_paths

__all__ = ["build", "get"]

_DATABASES = (".db", ".sqlite", ".sqlite3")
_SAMPLE_NAME = "sample.db"


def get(form: Form, places: Places) -> Path | None:
    """The database to build from; None where the instruction set is there, by now or since an earlier run.

    Raises:
        CellError: what the form names is not there, or the instruction set that is there is another one.
    """
    places.check()
    source = _source(form, places)
    if places.instructions.is_file():
        _check_same(form, places.instructions, source)
        origin = _card(places.instructions).get("source", "别处")
        sys.stdout.write(
            f"用已有的指令集 {places.instructions}（{_count(places.instructions)} 行，来自 {origin}），不重建。\n"
        )
        return None
    if source is None:
        database = places.work / _SAMPLE_NAME
        run_fintunnel("dataset", "sample", "--out", str(database), advice="请看磁盘是否满了。")
        return database
    if source.suffix == ".jsonl":
        rows = _count(source)  # a file that cannot be used is not taken
        along = _take_instructions(source, places.instructions)
        sys.stdout.write(f"指令集 {places.instructions}（{rows} 行）；{along}\n")
        return None
    # Read from the local disk: SQLite seeks, which Drive answers slowly.
    database = places.work / source.name
    if database != source.absolute():
        copy_file(source, database)
    sys.stdout.write(f"数据库 {source}（{source.stat().st_size / 2**20:.1f} MB）\n")
    return database


def build(form: Form, places: Places, database: Path | None) -> None:
    """Build what is not there yet, and check it."""
    if not places.instructions.is_file():
        if database is None:
            raise CellError(f"还没有数据：请先运行{Section.DATA}。")
        run_fintunnel(
            *("dataset", "build", "--db", str(database), "--out", str(places.instructions)),
            *("--num-samples", str(form.num_samples or "all")),
            advice="数据库要有 events 和 prices_m1 两张表；也可以把 DATA 改成 sample，先用示例数据走通。",
        )
    run_fintunnel(
        *("dataset", "check", str(places.instructions)),
        advice=f"指令集有错误：改好来源，删掉 {places.instructions}，再从{Section.DATA}运行；"
        "确定要这样训练，就从下一格接着运行。",
    )


def _source(form: Form, places: Places) -> Path | None:
    """The file that the form names; None for the sample. What was uploaded before is not asked for again."""
    if form.data == SAMPLE:
        return None
    if form.data == UPLOAD:
        return None if places.instructions.is_file() else _uploaded(drive.upload(places.work / "uploaded"))
    source = Path(form.data)
    if source.suffix in (".jsonl", *_DATABASES):
        if source.is_file():
            return source
        drive.check_mounted(source)
        raise CellError(f"找不到 DATA 说的 {source}：请在左侧文件栏里右键它「复制路径」，贴进表单。")
    raise CellError(f"DATA 是 {form.data}：应是 {SAMPLE}、{UPLOAD}，或一个 .db、.sqlite、.jsonl 文件的路径。")


def _uploaded(files: list[Path]) -> Path:
    """Of several the instruction set: its splits and its card come with it."""
    names = {name.name for file in files for name in (*split_paths(file).values(), card_path(file)) if name != file}
    for file in sorted(files, key=lambda path: (path.suffix != ".jsonl", len(path.name))):
        if file.suffix in (".jsonl", *_DATABASES) and file.name not in names:
            return file
    raise CellError(f"上传的 {'、'.join(file.name for file in files)} 里没有 .db、.sqlite 或 .jsonl：请再运行这一格。")


def _take_instructions(source: Path, target: Path) -> str:
    """Validation, test and card come along where they are there; the training file comes last: it marks the rest.

    Returns:
        what came along and what was not there, in Chinese.
    """
    origins, copies = split_paths(source), split_paths(target)
    beside = {
        "验证集": (origins["val"], copies["val"]),
        "测试集": (origins["test"], copies["test"]),
        "数据卡": (card_path(source), card_path(target)),
    }
    there = [name for name, (origin, _) in beside.items() if origin.is_file()]
    for origin, copy in [*(beside[name] for name in there), (source, target)]:
        copy_file(origin, copy)
    absent = [name for name in beside if name not in there]
    return f"一起取来的：{'、'.join(there) or '无'}；没有的：{'、'.join(absent) or '无'}"


def _check_same(form: Form, instructions: Path, source: Path | None) -> None:
    """Raise CellError where the form asks for another instruction set than the one that is there."""
    differing = []
    if source is not None and source.suffix == ".jsonl":
        if file_sha256(source) != file_sha256(instructions):
            differing.append(f"DATA（{source}）的内容与它不同")
    else:
        card = _card(instructions)
        wanted = form.num_samples or "all"
        # One that was uploaded ready-made has a number of its own.
        if form.data != UPLOAD and card.get("num_samples", wanted) != wanted:
            differing.append(f"NUM_SAMPLES 原来 {card['num_samples']}，现在 {wanted}")
        # By name: the sample's bytes carry the version of the SQLite that wrote it.
        if form.data == SAMPLE and card and card.get("source") != _SAMPLE_NAME:
            differing.append(f"DATA 是 {SAMPLE}，原来的数据是 {card.get('source')}")
        if form.data == UPLOAD and card.get("source") == _SAMPLE_NAME:
            differing.append(f"DATA 是 {UPLOAD}，原来的是示例数据")
        if source is not None and card.get("source_sha256") not in (None, file_sha256(source)):
            differing.append(f"数据库原来是 {card.get('source')}，现在是 {source.name}，内容不同")
    if differing:
        raise CellError(
            f"{instructions} 已经有了，与表单不同：{'；'.join(differing)}。要用它，请把表单改回去；"
            "要另建一份，请把 FOLDER 换成新的目录（原来的不会丢）。"
        )


def _card(instructions: Path) -> dict[str, object]:
    """Empty where there is none: made elsewhere."""
    try:
        card: dict[str, object] = json.loads(card_path(instructions).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card


def _count(instructions: Path) -> int:
    try:
        return len(read_instructions(instructions).rows)
    except DataError as error:
        raise CellError(f"指令集不能用：{error}") from None
