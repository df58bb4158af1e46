"""Executes the committed notebook outside Colab, with a form that makes it short."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.make_notebook import NOTEBOOK, ROOT

__all__ = ["Executed", "execute", "notebook", "source"]


@dataclass
class Executed:
    """By the cell's id: what it wrote, what it showed (by MIME type), how long it took in seconds."""

    texts: dict[str, str] = field(default_factory=dict)
    shown: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    saved: str = ""
    """the notebook as it would be saved"""


def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def source(cell_id: str) -> str:
    return next(str(cell.source) for cell in notebook().cells if cell.id == cell_id)


def execute(folder: Path, monkeypatch: pytest.MonkeyPatch, form: dict[str, object]) -> Executed:
    """Run every cell in `folder` with this very Python. `form` replaces fields as papermill does: by a cell after the
    one with the tag "parameters". After the last cell it runs once more with its box ticked."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    (folder / "fintunnel-repo").symlink_to(ROOT, target_is_directory=True)
    kernel = folder / "kernels" / "this-python"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "this Python", "language": "python"}), encoding="utf-8"
    )
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    read = notebook()
    tagged = [number for number, cell in enumerate(read.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    injected = "\n".join(f"{name} = {value!r}" for name, value in form.items())
    read.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(injected, id="injected-parameters"))
    stop = copy.deepcopy(read.cells[-1])
    stop.id, stop.source = "stop-confirmed", stop.source.replace("STOP = False", "STOP = True")
    read.cells.append(stop)

    executed = Executed()
    began: dict[str, float] = {}

    def note_begin(cell: Any, cell_index: int) -> None:
        del cell_index
        began[cell.id] = time.monotonic()

    def note_end(cell: Any, cell_index: int, execute_reply: Any) -> None:
        del cell_index, execute_reply
        executed.seconds[cell.id] = time.monotonic() - began[cell.id]

    manager = AsyncKernelManager(
        kernel_name="this-python", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    )
    client = NotebookClient(
        read,
        km=manager,
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=note_begin,
        on_cell_executed=note_end,
    )
    try:
        client.execute(cleanup_kc=True)
    finally:
        executed.saved = nbformat.writes(read)
        _keep(executed)
    for cell in read.cells:
        if cell.cell_type == "code":
            texts = [output.text for output in cell.outputs if output.output_type == "stream"]
            executed.texts[cell.id] = "".join(texts)
            executed.shown[cell.id] = [dict(output.data) for output in cell.outputs if "data" in output]
    return executed


def _keep(executed: Executed) -> None:
    """Where EXECUTED_NOTEBOOK_DIR names a folder: the executed notebook and its cells' times, to be looked at."""
    if place := os.environ.get("EXECUTED_NOTEBOOK_DIR"):
        lines = [f"{name}, {seconds:.1f}" for name, seconds in executed.seconds.items()]
        lines.append(f"total, {sum(executed.seconds.values()):.1f}")
        Path(place).mkdir(parents=True, exist_ok=True)
        (Path(place) / "cells.csv").write_text("cell id, seconds\n" + "\n".join(lines) + "\n", encoding="utf-8")
        (Path(place) / "executed.ipynb").write_text(executed.saved, encoding="utf-8")
