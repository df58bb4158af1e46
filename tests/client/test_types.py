"""A user's code is clean under mypy --strict and pyright's strict mode: the package is typed, and says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import fintunnel
import pytest

CODE = Path(__file__).with_name("users_code.py")
WRONG = "from fintunnel import DeepSeekClient\nanswer: int = DeepSeekClient().analyze('x').impact\n"


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(fintunnel.__file__).parent / "py.typed").is_file()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Away from the repository, whose settings are not a user's."""
    copied = tmp_path / "users_code.py"
    shutil.copy(CODE, copied)
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    return copied


def test_mypy_strict_is_clean(code: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", code.name, "wrong.py"]
    done = subprocess.run(command, cwd=code.parent, capture_output=True, text=True, check=False)
    *errors, summary = done.stdout.splitlines()
    assert summary == "Found 1 error in 1 file (checked 2 source files)", done.stdout + done.stderr
    assert errors[0].startswith("wrong.py:2: error: Incompatible types")  # it does read the package's types


def test_pyright_strict_is_clean(code: Path) -> None:
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (code.parent / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, code.name, "wrong.py"], cwd=code.parent, capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout)
    found = [(Path(each["file"]).name, each["severity"]) for each in told["generalDiagnostics"]]
    assert found == [("wrong.py", "error")] and told["summary"]["filesAnalyzed"] == 2, done.stdout
