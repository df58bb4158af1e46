"""The OpenAPI document tells the truth: schemathesis asks the app by it, with all of its checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fintunnel.wire import ErrorCode

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

_ROOT = Path(__file__).parents[2]
_PROBES = ("/health", "/ready")


def schemathesis(app: LiveApp, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{app.url}/openapi.json", "--checks", "all", "--no-color",
         "--header", f"Authorization: Bearer {app.api_key}", *options],
        capture_output=True, encoding="utf-8", check=False, timeout=600, cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.server.schemathesis_hooks", "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(("examples", "seed"), [("15", "1"), pytest.param("300", "2", marks=pytest.mark.thorough)])
def test_what_the_document_says_is_what_the_app_does(examples: str, seed: str, tmp_path: Path) -> None:
    # What depends on the model's size and on the load is no property of the document.
    roomy = InstantEngine(context_tokens=10**9)
    (tmp_path / "adapters" / "fintunnel").mkdir(parents=True)
    with run_app(
        roomy, api_key="right-key", max_prompt_tokens=10**9, max_body_bytes=10**8,
        load_adapter=lambda *_: None, adapter_root=tmp_path / "adapters",
    ) as app:  # fmt: skip
        done = schemathesis(app, tmp_path, "--max-examples", examples, "--seed", seed)
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert passed is not None and int(passed[2]) > 300, done.stdout[-3000:]


def test_the_document_describes_every_error(live_app: LiveApp) -> None:
    document = httpx.get(f"{live_app.url}/openapi.json", headers=KEY, trust_env=False).json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            errors = {status for status in operation["responses"] if status >= "400"}
            assert errors >= ({"405"} if path in _PROBES else {"401", "405", "429", "503"})
            assert ("security" in operation) == (path not in _PROBES)
            for status in errors:
                [content] = operation["responses"][status]["content"].values()
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
            assert "requestBody" not in operation or errors >= {"400", "413", "415", "422", "500"}
    codes = document["components"]["schemas"]["ErrorCode"]["enum"]
    assert codes == [code.value for code in ErrorCode]


KEY = {"Authorization": "Bearer right-key"}
