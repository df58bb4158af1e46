"""The whole of `fintunnel calibrate`, top to bottom: rows → answers of the served model → fits → `calibration.json`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from fintunnel.atomic_file import replacing_file
from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.terminal_text import system_reason
from fintunnel.wire import HORIZON_MIN, Edges, NewsAnalysis, NewsRequest

from fintunnel_training.adapter import ADAPTER_WEIGHTS, Manifest, file_sha256, list_file, read_adapter
from fintunnel_training.base import Quantization
from fintunnel_training.calibration.answers import AnswerCache, ask_all, check_raw, question_key
from fintunnel_training.calibration.calibration_file import (
    CALIBRATION,
    CLASSES,
    CONDITIONS,
    Calibration,
    Condition,
    FieldName,
)
from fintunnel_training.calibration.fields import Judged, fit_fields
from fintunnel_training.calibration.reliability_plot import PICTURE, plot_reliability
from fintunnel_training.calibration.validation_rows import (
    ValidationFile,
    ValidationRow,
    read_validation,
    select,
    validation_path,
)
from fintunnel_training.errors import DataError, OptionError
from fintunnel_training.serving import base_of, own_server, serve_arguments

__all__ = ["MIN_ROWS", "calibrate_adapter"]

MIN_ROWS = 30  # fewer rows than this under a condition say nothing about probabilities


def calibrate_adapter(
    adapter: Path,
    data: Path,
    *,
    eval_data: Path | None = None,
    url: str | None = None,
    base: str | None = None,
    quantization: Quantization | None = None,
    rows: int | None = None,
    allow_unverified: bool = False,
    min_rows: int = MIN_ROWS,
) -> Calibration:
    """Fit an adapter's calibration on its validation file and write it into its folder.

    Args:
        data: the training file beside the validation file, or that file itself.
        eval_data: the validation file, in place of the one beside `data`; its name may be any.
        url: of a server that runs with this adapter (key: `FINTUNNEL_API_KEY`); else one is started and stopped.
        base, quantization: of the server that is started; default: what the adapter's manifest says.
        rows: ask so many rows, spread over time; default: all.

    Raises:
        FinTunnelError: no calibration was written; answers that came by then are kept for the next run.
    """
    if url is not None and (base is not None or quantization is not None):
        raise OptionError("--url 的服务已有基座，--base 和 --quantization 只用于不给 --url 的时候")
    manifest = read_adapter(adapter, allow_unverified=allow_unverified)
    validation = read_validation(validation_path(data) if eval_data is None else eval_data)
    _check_same_labels(validation, manifest)
    chosen = select(validation.rows, rows)
    _check_enough(chosen, min_rows, validation.path)
    weights = file_sha256(adapter / ADAPTER_WEIGHTS)

    server: AbstractContextManager[DeepSeekClient]
    if url is not None:
        server, source = DeepSeekClient(backend="finetuned", url=url), url
    else:
        base = base or base_of(manifest)
        quantization = quantization or ("none" if manifest is not None and manifest.quantization == "none" else "nf4")
        server = own_server(
            serve_arguments([str(adapter)], base, quantization, allow_unverified=allow_unverified, calibrated=False)
        )
        source = f"{base} {quantization}"
    key = partial(question_key, source=f"{weights} {source}")
    asked = {condition: _asked(chosen, condition) for condition in CONDITIONS}
    questions = {key(request): request for pairs in asked.values() for _, request in pairs}
    with AnswerCache(_cache_path(adapter)) as cache:
        with server as client:
            ask = partial(_ask, client, manifest.edges if manifest is not None else None)
            answers = ask_all(questions, ask, cache)
        judged = {
            condition: fit_fields(
                [row for row, _ in pairs],
                [answers[key(request)] for _, request in pairs],
                with_context=condition == "with_context",
            )
            for condition, pairs in asked.items()
        }
        fields: dict[FieldName, dict[Condition, Judged]] = {
            field: {condition: part[field] for condition, part in judged.items() if field in part} for field in CLASSES
        }
        calibration = Calibration(
            adapter=weights,
            data_sha256=validation.sha256,
            rows=len(chosen),
            quantization=quantization,
            fields={field: {c: one.fit for c, one in parts.items()} for field, parts in fields.items()},
        )
        _write(adapter, calibration, fields)
        cache.remove()
    return calibration


def _check_same_labels(validation: ValidationFile, manifest: Manifest | None) -> None:
    """The labels have to mean what the adapter was taught that they mean."""
    edges = manifest.edges if manifest is not None else None
    if None not in (edges, validation.edges) and edges != validation.edges:
        raise DataError(
            f"{validation.path} 与适配器不配：数据卡里的标签边界和适配器学的不同。请用训练它的那份指令集的验证集。"
        )
    horizon_min = edges.horizon_min if edges is not None else HORIZON_MIN
    other = next((row.horizon_min for row in validation.rows if row.horizon_min != horizon_min), None)
    if other is not None:
        raise DataError(f"{validation.path} 的标签说的是 {other} 分钟后的价格，适配器学的是 {horizon_min} 分钟。")


def _check_enough(rows: list[ValidationRow], min_rows: int, path: Path) -> None:
    with_context = [row for row in rows if row.request.context is not None]
    for what, part in (("新闻", rows), ("有上下文的新闻", with_context)):
        if len(part) < min_rows:
            raise DataError(
                f"用于校准的{what}行只有 {len(part)} 条，至少要 {min_rows} 条（{path}）。"
                "请调大 --rows，或用时间更长的数据库生成指令集。"
            )
    if len({row.beijing_day for row in with_context}) < 2:
        raise DataError(f"{path} 的消息都在同一天，无法按天交叉验证。请用时间更长的数据库生成指令集。")


def _asked(rows: list[ValidationRow], condition: Condition) -> list[tuple[ValidationRow, NewsRequest]]:
    """With context: the rows that have one. Without: all rows, theirs taken away."""
    if condition == "with_context":
        rows = [row for row in rows if row.request.context is not None]
        return [(row, row.request.model_copy(update={"explain": False})) for row in rows]
    return [(row, row.request.model_copy(update={"explain": False, "context": None})) for row in rows]


def _ask(client: DeepSeekClient, edges: Edges | None, request: NewsRequest) -> NewsAnalysis:
    return check_raw(client.analyze(request), request, edges)


def _cache_path(adapter: Path) -> Path:
    """Beside the adapter, not in it: the folder holds what belongs to the adapter alone."""
    folder = adapter.resolve()
    return folder.with_name(f".{folder.name}-calibration.sqlite")


def _write(adapter: Path, calibration: Calibration, fields: dict[FieldName, dict[Condition, Judged]]) -> None:
    picture, file = adapter / PICTURE, adapter / CALIBRATION
    try:
        plot_reliability(fields, picture)
        with replacing_file(file) as partial:
            partial.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"无法写入 {file}：{system_reason(error)}") from error
    finally:
        # Even when interrupted: a manifest that holds an earlier file's hash would make the adapter useless.
        for path in (picture, file):
            if path.is_file():
                list_file(adapter, path.name)
