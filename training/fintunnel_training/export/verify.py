"""Whether the merged model answers like base + adapter: both are served, one after the other, and asked the same.

Scoring has one implementation, the server's, so this asks through the client as any agent does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fintunnel.wire import HORIZON_MIN, NewsAnalysis, NewsRequest

from fintunnel_training.adapter import Manifest
from fintunnel_training.errors import DataError, TrainingError
from fintunnel_training.export.record import Verification
from fintunnel_training.instructions import read_instructions, split_paths
from fintunnel_training.serving import own_server, serve_arguments

__all__ = ["compare", "news_requests", "verify"]

_Label = TypeVar("_Label", bound=str)


def news_requests(data: Path, rows: int) -> tuple[Path, list[NewsRequest]]:
    """The first `rows` news requests of the validation file beside `data`; of `data` itself where there is none.

    Raises:
        DataError: no such file, or no row that `/analyze` could be asked.
    """
    validation = split_paths(data)["val"]
    path = validation if validation.is_file() else data
    requests = [
        row.request.model_copy(update={"explain": False, "adapter": None})
        for row in read_instructions(path).rows
        if isinstance(row.request, NewsRequest) and row.style == "json"
    ]
    if not requests:
        raise DataError(f"{path} 里没有可以拿来问的新闻（要由 fintunnel dataset build 生成）。")
    return path, requests[:rows]


def verify(
    adapter: Path, manifest: Manifest, base: str, merged: Path, path: Path, requests: Sequence[NewsRequest]
) -> Verification:
    """Ask base + adapter and the merged model, both in 16 bits, and count where they differ.

    Raises:
        TrainingError: the server cannot ask the merged model as the adapter is asked.
        ConnectionFailed: a server did not start; with its last lines.
    """
    horizon_min = manifest.edges.horizon_min if manifest.edges is not None else HORIZON_MIN
    if horizon_min != HORIZON_MIN:
        # The server takes the horizon, which stands in the prompt, from an adapter's manifest alone.
        raise TrainingError(
            f"适配器预测 {horizon_min} 分钟，而单独的模型总是按 {HORIZON_MIN} 分钟提问，两者问的不一样，无法比较。"
        )
    _free_memory()
    foreign = manifest.prompt_version is None
    arguments = serve_arguments([str(adapter)], base, "none", allow_unverified=foreign, calibrated=False)
    tuned = _ask(arguments, requests, "基座+适配器")
    alone = _ask(["--base", str(merged), "--quantization", "none"], requests, "合并后的模型")
    if any(answer.calibrated for answer in (*tuned, *alone)):
        raise TrainingError(
            "服务给出的是校准过的概率，比较会把校准的差别也算进去。请用没有 calibration.json 的适配器。"
        )
    return compare(tuned, alone, path.name)


def _free_memory() -> None:
    """What merging in this process held, models of 7B and their GPU memory, is needed by the servers now."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _ask(arguments: list[str], requests: Sequence[NewsRequest], name: str) -> list[NewsAnalysis]:
    from tqdm.auto import tqdm

    with own_server(arguments) as client:
        return [client.analyze(request) for request in tqdm(requests, desc=name, unit="条")]


def compare(tuned: Sequence[NewsAnalysis], merged: Sequence[NewsAnalysis], data: str) -> Verification:
    """Count differing labels of answers to the same requests, and find the largest difference of a probability."""
    pairs = list(zip(tuned, merged, strict=True))
    return Verification(
        data=data,
        rows=len(pairs),
        impact_differs=sum(a.impact != b.impact for a, b in pairs),
        direction_differs=sum(a.direction != b.direction for a, b in pairs),
        largest_difference=max(
            (
                max(_apart(a.impact_probs, b.impact_probs), _apart(a.direction_probs, b.direction_probs))
                for a, b in pairs
            ),
            default=0.0,
        ),
    )


def _apart(one: Mapping[_Label, float] | None, other: Mapping[_Label, float] | None) -> float:
    """The largest difference of two distributions over the same labels."""
    if one is None or other is None:
        raise TrainingError("服务没有给出概率，无法比较。")
    return max(abs(probability - other[label]) for label, probability in one.items())
