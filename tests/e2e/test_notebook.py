"""The notebook that people open on Colab: it is the generator's, and it runs from the first cell to the last."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fintunnel_training.adapter import read_adapter
from fintunnel_training.colab.install import EMBEDDED_BASE

import run
from tests.e2e.executed_notebook import execute, notebook, source
from tools.make_notebook import NOTEBOOK, ROOT, SOURCE, notebook_text

API_KEY = "key-that-no-output-may-show"
_SHORT_RUN: dict[str, object] = {
    "DATA": "sample",
    "BASE": "embedded",
    "NUM_SAMPLES": 20,
    "BATCH_SIZE": 1,
    "MAX_LENGTH": 768,  # the embedded base's English vocabulary needs more tokens for Chinese
    "CALIBRATE": False,
    "LEARNING_RATE": 0.01,  # so that three steps are enough to see in the answers
    "MAX_STEPS": 3,
    "COMPARE_ROWS": 2,  # labels alone: a text takes seconds, and the headline's are asked for below
    "FOLDER": "result",
    "WORK": "work",  # as on Colab: training writes here, and what is to stay goes to FOLDER
    "USE_NGROK": True,  # without a token: says so, and serves this machine alone
}
_LOGIC = (
    ast.Assert,
    *(ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.FunctionDef, ast.AsyncFunctionDef),
    *(ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.BoolOp, ast.Match),
)


def test_committed_notebook_is_what_the_generator_writes() -> None:
    assert NOTEBOOK.read_text(encoding="utf-8") == notebook_text()


def test_check_tells_a_changed_notebook(tmp_path: Path) -> None:
    """In a copy: the same files, then one character more in the notebook."""
    (tmp_path / "tools").mkdir()
    for name in ("tools/make_notebook.py", f"tools/{SOURCE.name}", "pyproject.toml", NOTEBOOK.name):
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "tools/make_notebook.py", "--check"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    changed_copy = tmp_path / NOTEBOOK.name
    changed_copy.write_text(
        changed_copy.read_text(encoding="utf-8").replace("Train", "Train!", 1), encoding="utf-8", newline="\n"
    )
    changed = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, encoding="utf-8")
    assert changed.returncode == 1
    assert "tools/make_notebook.py" in changed.stderr


def test_sections_are_numbered_and_say_how_long_they_take() -> None:
    sections = [cell.source for cell in notebook().cells if cell.source.startswith("## ")]
    assert [int(section.split(".")[0].removeprefix("## ")) for section in sections] == list(range(1, 16))
    for section in sections:
        heading, _, text = section.partition("\n")
        assert re.fullmatch(r"## \d+\. [A-Z][A-Za-z, ]+", heading)
        assert re.search(r"秒|分钟", text), section


def test_cells_hold_no_logic() -> None:
    for cell in notebook().cells:
        # But for the cell that fetches the code: there is nothing yet that could do it.
        if cell.cell_type != "code" or cell.source.startswith("%%") or cell.id == "code":
            continue
        assert not re.search(r"^!.*(\|\||&&|;)", cell.source, re.MULTILINE), cell.id
        lines = [line for line in cell.source.splitlines() if not line.startswith(("!", "%"))]
        found = [type(node).__name__ for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, _LOGIC)]
        assert not found, (cell.id, found)
        # Few lines, besides the form's: one field a line.
        assert len([line for line in lines if not re.search(r"^#|#@param", line)]) <= 6, cell.id


def test_first_cell_opens_this_repositorys_notebook_on_colab() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repository = pyproject["project"]["urls"]["Repository"]
    owner_and_name = repository.removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{NOTEBOOK.name}"
    assert f"]({address})" in notebook().cells[0].source
    assert f'REPOSITORY = "{repository}" #@param' in source("code")


def test_notebook_asks_colab_for_a_t4_and_carries_no_outputs() -> None:
    metadata = notebook().metadata
    assert (metadata["accelerator"], metadata["colab"]["gpuType"]) == ("GPU", "T4")
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook().cells)


def test_notebook_installs_the_embedded_base_that_run_py_installs() -> None:
    assert EMBEDDED_BASE == run.EMBEDDED_BASE


@pytest.mark.skipif(os.name == "nt", reason="the cell speaks to Colab's Linux shell")
def test_failed_clone_stops_with_a_sentence(tmp_path: Path) -> None:
    cell = source("code").replace("https://", "file:///nowhere/")
    script = f"""
import os
os.chdir({str(tmp_path)!r})
from IPython.core.interactiveshell import InteractiveShell
print(InteractiveShell.instance().run_cell({cell!r}).error_in_exec)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=False)
    assert ended.stdout.rstrip().splitlines()[-1].startswith("没有取到代码"), ended.stdout + ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="the cell speaks to Colab's Linux shell")
def test_key_is_not_on_curls_command_line(tmp_path: Path) -> None:
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\necho arguments: "$@"\necho input:\ncat\n', encoding="utf-8")
    curl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FINTUNNEL_API_KEY": API_KEY}
    script = source("curl").removeprefix("%%bash\n")
    ended = subprocess.run(["bash"], input=script, env=environment, capture_output=True, encoding="utf-8", check=True)
    arguments, _, given = ended.stdout.partition("input:\n")
    assert API_KEY not in arguments
    assert given == f"Authorization: Bearer {API_KEY}\n"


@pytest.mark.skipif(os.name == "nt", reason="the cell speaks to Colab's Linux shell")
def test_curl_without_an_answer_is_one_line_that_says_what_to_do() -> None:
    environment = {**os.environ, "FINTUNNEL_URL": "http://127.0.0.1:9", "FINTUNNEL_API_KEY": API_KEY}
    script = source("curl").removeprefix("%%bash\n")
    ended = subprocess.run(["bash"], input=script, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert ended.stdout == "[错误] 没有得到回答：先运行第 13 节，并看它的日志\n"


@pytest.mark.e2e
@pytest.mark.skipif(os.name == "nt", reason="the cells speak to Colab's Linux shell")
@pytest.mark.usefixtures("_no_server_is_left")
def test_notebook_runs_from_database_to_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", API_KEY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # the doctor asks no hub
    for name in ("NGROK_AUTHTOKEN", "NGROK_DOMAIN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    done = execute(tmp_path, monkeypatch, _SHORT_RUN)
    text, shown = done.texts, done.shown

    assert API_KEY not in done.saved
    assert sys.executable in text["code"]
    assert "已经安装" in text["install"]
    assert "NF4" in text["install"]
    assert "基座：embedded" in text["launch"]
    assert "已有：FINTUNNEL_API_KEY；没有：NGROK_AUTHTOKEN" in text["secrets"]
    assert "$ fintunnel dataset sample" in text["data"]
    assert "$ fintunnel dataset build" in text["dataset"]
    assert "通过" in text["dataset"]
    assert text["dataset"].count("指令 ") >= 3 or text["dataset"].count("事件 ") >= 3
    assert "3 步" in text["dry-run"]
    assert "训练完成：3 步" in text["train"]
    assert any("image/png" in data for data in shown["train"])

    assert "adapter_model.safetensors" in shown["verify"][0]["text/plain"]
    assert "都与 manifest.json 相符" in text["verify"]
    assert "20 条" in shown["verify"][1]["text/html"]
    assert "image/png" in shown["verify"][2]
    for folder in ("result", "work"):
        assert read_adapter(tmp_path / folder / "adapter") is not None
    assert not list((tmp_path / "result").rglob("*.copying"))
    assert not (tmp_path / "work" / "adapter-training").exists()

    assert "<iframe sandbox srcdoc=" in shown["compare"][-1]["text/html"]
    assert (tmp_path / "result" / "comparison" / "report.html").is_file()
    with zipfile.ZipFile(tmp_path / "result" / "qlora_weights.zip") as archive:
        assert "adapter/adapter_model.safetensors" in archive.namelist()

    pid = re.search(r"进程 (\d+)：http://127\.0\.0\.1:\d+", text["serve"])
    assert pid is not None
    assert "没有 NGROK_AUTHTOKEN，没有公开" in text["serve"]
    rows = [line.split("  ") for line in shown["before-after"][0]["text/plain"].splitlines()[2:]]
    facts = {name: (before, after) for name, before, after in (row for row in rows if len(row) == 3)}
    # The adapter is really the difference between the two.
    assert facts["影响"][0] != facts["影响"][1]
    if shutil.which("curl"):
        assert '"task":"news"' in text["curl"]
    assert text["client"].splitlines()[0] in ("bearish", "neutral", "bullish")
    assert text["client"].splitlines()[2]
    assert "没有公开" in text["elsewhere"]
    assert "还在运行" in text["stop"]
    assert "已停止" in text["stop-confirmed"]
    assert not psutil.pid_exists(int(pid[1]))


@pytest.fixture
def _no_server_is_left(tmp_path: Path) -> Iterator[None]:
    """Where the notebook stopped half-way, its server is ended: the process whose folder is this test's."""
    yield
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(tmp_path) and "serve" in (process.info["cmdline"] or []):
            process.kill()
