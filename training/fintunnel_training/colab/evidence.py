"""What a person shows an examiner: files with their hashes, the training's facts and curve, the comparison."""

from __future__ import annotations

import sys
from pathlib import Path

from fintunnel.chinese import LABELS_ZH
from fintunnel.wire import NewsRequest
from pydantic import ValidationError

from fintunnel_training.adapter import MANIFEST, file_sha256, read_adapter
from fintunnel_training.colab.commands import run_fintunnel
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import Form
from fintunnel_training.colab.keeping_answers import KeptAnswers
from fintunnel_training.colab.keys import Keys
from fintunnel_training.colab.places import Places, copy_folder
from fintunnel_training.colab.sections import Section
from fintunnel_training.colab.showing import Table, show, show_page, show_picture
from fintunnel_training.colab.training import base_for
from fintunnel_training.comparison.result import Answer, ComparisonResult
from fintunnel_training.errors import AdapterError
from fintunnel_training.export.archive import ZIP_NAME
from fintunnel_training.instructions import split_paths
from fintunnel_training.qlora.evidence import read_training_info

__all__ = ["compare", "show_files", "show_training", "zip_adapter"]

_TEXTS_SHARE = 4  # one in so many compared news is answered in words too, which takes most of the time


def show_files(places: Places) -> None:
    """Every file of the adapter that stays, read and held against its manifest.

    Raises:
        CellError: a file is missing or altered.
    """
    places.check_trained()
    try:
        manifest = read_adapter(places.saved, allow_unverified=True)
    except AdapterError as error:
        raise CellError(f"{error}。请删掉 {places.saved}，再运行{Section.TRAIN}。") from None
    assert manifest is not None  # the file was there
    hashes = {MANIFEST: file_sha256(places.saved / MANIFEST), **manifest.files}
    sizes = {name: (places.saved / name).stat().st_size for name in hashes}
    rows = [(name, f"{sizes[name]:,}", hashes[name][:16]) for name in sorted(hashes, key=lambda name: -sizes[name])]
    total = sum(sizes.values()) / 2**20
    show(
        Table(f"{places.saved}：{len(rows)} 个文件，共 {total:.1f} MiB", ("文件", "字节", "SHA-256（前 16 位）"), rows)
    )
    sys.stdout.write(f"{len(manifest.files)} 个文件的 SHA-256 都与 {MANIFEST} 相符。\n")


def show_training(places: Places) -> None:
    info = read_training_info(places.saved)
    if info is None:
        raise CellError(f"{places.saved} 里没有训练记录：请先运行{Section.TRAIN}。")
    options = info.options
    rows = [
        ("基座", f"{info.base}（{info.quantization}，{info.precision}，{info.device}）"),
        ("样本", f"{info.samples} 条（缩短 {info.samples_shortened}，去掉 {info.samples_dropped}）"),
        ("轮数与步数", f"{info.epochs_done:g} 轮，{info.steps} 步"),
        ("批大小 × 累积", f"{options['batch_size']} × {options['accumulation']}"),
        ("学习率、长度", f"{options['learning_rate']:g}，{options['max_length']} token"),
        ("LoRA r / alpha / dropout", f"{options['lora_r']} / {options['lora_alpha']} / {options['lora_dropout']}"),
        ("可训练参数", f"{info.trainable_parameters:,}（{info.trainable_share:.2%}）"),
        ("loss", f"{info.first_loss:.3f} → {info.last_loss:.3f}"),
        ("验证集 loss", "没有评估" if info.last_eval_loss is None else f"{info.last_eval_loss:.3f}"),
        ("用时", f"{info.seconds / 60:.1f} 分钟"),
        ("峰值内存", f"{info.peak_memory_gib:.1f} GiB"),
        *(("途中", f"{event}") for event in info.events),
    ]
    show(Table("训练记录（training_info.json）", ("", ""), rows))
    show_picture(places.saved / "loss_curve.png")


def compare(form: Form, places: Places, keys: Keys) -> None:
    """Base and adapter, asked the same questions of the test split; without one, the form's headline alone. Answers
    that are there already are not asked for again."""
    places.check_trained()
    if form.compare_rows == 0:
        sys.stdout.write("COMPARE_ROWS 是 0，跳过对比。\n")
        return
    places.check()
    here, kept = places.work / "comparison", places.folder / "comparison"
    if kept.is_dir() and not here.is_dir():
        copy_folder(kept, here)
    texts = form.compare_rows // _TEXTS_SHARE
    questions = ["--cases", form.headline]
    if split_paths(places.instructions)["test"].is_file():
        questions = ["--data", str(places.instructions), "--rows", str(form.compare_rows), "--texts", str(texts)]
    with KeptAnswers(here, kept) as answers:
        run_fintunnel(
            *("compare", "--adapter", str(places.saved), "--base", base_for(form), *questions, "--out", str(here)),
            environment=keys.hub,
            advice="已得到的回答都存着，再运行这一格会接着问。",
            meanwhile=answers.keep_now_and_then,
        )
    copy_folder(here, kept)
    _show_example(_result(kept / "report.json"))
    show_page(kept / "report.html")
    sys.stdout.write(f"报告 {kept / 'report.html'}，答辩用的一页 {kept / 'defence.html'}\n")


def zip_adapter(places: Places) -> None:
    places.check_trained()
    run_fintunnel(
        *("export", "--adapter", str(places.saved), "--zip", "--out", str(places.folder / ZIP_NAME)),
        advice="请看 Drive 是否满了。",
    )


def _result(file: Path) -> ComparisonResult:
    try:
        return ComparisonResult.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise CellError(f"读不出对比的结果：{error}") from None


def _show_example(result: ComparisonResult) -> None:
    """The first question that was answered in words, by the base and the tuned model side by side."""
    models = {
        system.name: f"{'微调前' if system.kind == 'base' else '微调后'}（{system.name}）"
        for system in result.systems
        if system.kind in ("base", "tuned")
    }
    for example in result.examples:
        answers = {answer.system: answer for answer in example.answers if answer.system in models}
        if len(answers) < 2 or not all(answer.text for answer in answers.values()):
            continue
        request = example.request
        asked = request.text if isinstance(request, NewsRequest) else request.question
        rows = [(models[name], _labels(answer), answer.text or "") for name, answer in answers.items()]
        show(Table(f"同一个问题，微调前后：{asked}", ("", "标签或引用", "文字"), rows))
        return


def _labels(answer: Answer) -> str:
    if answer.citations is not None:
        return "".join(f"[{index}]" for index in answer.citations) or "–"
    return "，".join(LABELS_ZH[label] for label in (answer.impact, answer.direction) if label is not None)
