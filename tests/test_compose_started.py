"""compose.yaml's own services on loopback: the same arguments, the same environment, the same signal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fintunnel import DeepSeekClient, Done, NewsAnalysis, ServerFailure
from fintunnel.local_server import LocalServer
from fintunnel_training.adapter import file_sha256
from fintunnel_training.calibration.calibration_file import CALIBRATION, Calibration

from tests.balancer import balancer, haproxy
from tests.compose_file import load, stop_signal
from tests.training.calibration_rows import EDGES, fit
from tests.training.finished_adapter import BASE, bare_adapter

ROOT = Path(__file__).parents[1]
KEY = "compose-key-0123456789"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(load(ROOT / "compose.yaml", {"FINTUNNEL_API_KEY": KEY})["services"])


def variables(service: dict[str, Any]) -> dict[str, str]:
    """What Compose would set."""
    return {name: str(value) for name, value in service["environment"].items()}


@pytest.mark.e2e
def test_the_app_alone_answers_and_ends_by_the_signal_that_compose_sends(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    app = services["app"]
    with LocalServer(app["command"], log=tmp_path / "app.log", environment=variables(app)) as server:
        server.wait_until_ready(300)
        with DeepSeekClient(backend="finetuned", url=server.url, api_key=KEY, timeout=60) as client:
            analysis = client.analyze("美联储宣布加息25个基点", explain=False)
        assert analysis.model.base == "SmolLM2-135M-Instruct" and analysis.impact_probs is not None
        assert httpx.post(f"{server.url}/analyze", json={}, trust_env=False).status_code == 401
        if os.name != "nt":
            server.process.send_signal(stop_signal())
            assert server.process.wait(int(app["stop_grace_period"].removesuffix("s"))) == 130


@pytest.fixture(scope="module")
def scaled(
    services: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The balancer's URL and the upstream's process."""
    haproxy()
    folder = tmp_path_factory.mktemp("compose")
    base = services["vllm"]["command"][0]
    cards = [{"id": "analyst", "max_model_len": 2048, "parent": base}, {"id": base, "max_model_len": 2048}]
    key = services["vllm"]["environment"]["VLLM_API_KEY"]
    models = folder / "models"
    models.mkdir()
    adapter = bare_adapter(models / "analyst", BASE.model_copy(update={"id": base}), EDGES)
    weights = file_sha256(adapter / "adapter_model.safetensors")
    fields: Any = {"impact": {"without_context": fit(biases={"low": 6.0, "medium": -3.0, "high": -3.0})}}
    fitted = Calibration(adapter=weights, data_sha256="0" * 64, rows=50, quantization=None, fields=fields)
    (adapter / CALIBRATION).write_text(fitted.model_dump_json(), encoding="utf-8")
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.serve_upstream", json.dumps(cards), key]
        vllm = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"))
        stack.callback(vllm.kill)
        assert vllm.stdout is not None
        vllm_url = vllm.stdout.readline().strip()
        replicas = {}
        for name in ("replica-1", "replica-2"):
            environment = variables(services[name])
            command = [
                word.replace("http://vllm:8000", vllm_url).replace("/models/", f"{models}/")
                for word in services[name]["command"]
            ]
            replica = LocalServer(command, log=folder / f"{name}.log", environment=environment)
            stack.callback(replica.stop)
            replicas[f"{name}:8000"] = replica
        for replica in replicas.values():
            replica.wait_until_ready(60)
        asked = services["balancer"]["environment"]
        addresses = {variable: f"127.0.0.1:{replicas[asked[variable]].port}" for variable in ("REPLICA_1", "REPLICA_2")}
        yield stack.enter_context(balancer(folder, addresses)).url, vllm


def test_plain_batch_and_stream_through_the_balancer(scaled: tuple[str, subprocess.Popen[str]]) -> None:
    url, _ = scaled
    with DeepSeekClient(backend="finetuned", url=url, api_key=KEY, timeout=30) as client:
        analysis = client.analyze("美联储宣布加息25个基点")
        assert (analysis.rationale, analysis.model.adapter) == ("利率上行。", "analyst")
        # From the adapter's folder: the manifest's edges, and a calibration that prefers what the model does not.
        assert (analysis.edges, analysis.calibrated, analysis.impact) == (EDGES, True, "low")
        base = client.analyze("美联储宣布加息25个基点", adapter="base")
        assert (base.impact, base.model.adapter, base.calibrated) == ("high", None, False)
        many = client.analyze_many([f"第{number}条：美联储宣布加息" for number in range(6)])
        assert len(many) == 6 and all(isinstance(each, NewsAnalysis) for each in many)
        *_, last = client.stream("美联储宣布加息25个基点")
        assert isinstance(last, Done) and last.analysis.rationale == "利率上行。"
    refused = httpx.post(f"{url}/analyze", json={}, trust_env=False)
    assert refused.status_code == 401


def test_an_upstream_that_goes_while_all_runs_is_told(scaled: tuple[str, subprocess.Popen[str]]) -> None:
    """Last in this file that asks `scaled`."""
    url, upstream = scaled
    upstream.kill()
    upstream.wait()
    with DeepSeekClient(backend="finetuned", url=url, api_key=KEY, timeout=10, max_retries=0) as client:
        with pytest.raises(ServerFailure, match="上游模型服务|没有可用的服务副本") as raised:
            client.analyze("美联储宣布加息25个基点")
    assert raised.value.status == 503
