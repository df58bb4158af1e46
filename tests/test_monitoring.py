"""deploy/: Prometheus asks what compose.yaml starts, and the dashboard shows what the app counts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fintunnel_server.engine import Occupancy
from fintunnel_server.running.metrics import Metrics
from fintunnel_server.tunnel.watch import TunnelState

from tests.compose_file import load
from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KEY = "compose-key-0123456789"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load(ROOT / "compose.yaml", {"FINTUNNEL_API_KEY": KEY})


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


def test_prometheus_scrapes_those_services_with_the_key(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    jobs = {job["job_name"]: job for job in _yaml(DEPLOY / "prometheus.yml")["scrape_configs"]}
    [own], [upstream] = jobs["fintunnel"]["dns_sd_configs"], jobs["vllm"]["dns_sd_configs"]
    assert set(own["names"]) == {"app", "replica-1", "replica-2"} and upstream["names"] == ["vllm"]
    assert {*own["names"], *upstream["names"]} <= set(services) and own["port"] == upstream["port"] == 8000
    assert "authorization" not in jobs["vllm"]  # vLLM asks for its key under /v1 alone
    secret = jobs["fintunnel"]["authorization"]["credentials_file"]
    [name] = services["prometheus"]["secrets"]
    assert secret == f"/run/secrets/{name}" and compose["secrets"][name] == {"environment": "FINTUNNEL_API_KEY"}


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool")
    key = tmp_path / "key"
    key.write_text(KEY, encoding="utf-8")
    text = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/fintunnel_api_key", str(key)), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_grafana_finds_its_data_source_and_dashboard(services: dict[str, dict[str, Any]]) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = _yaml(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"]
    dashboard = _dashboard()
    asked = [dashboard["templating"]["list"][0], *dashboard["panels"]]
    asked += [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert {each["datasource"]["uid"] for each in asked} == {source["uid"]}
    [provider] = _yaml(provisioning / "dashboards" / "fintunnel.yml")["providers"]
    targets = dict(reversed(volume.split(":")[:2]) for volume in services["grafana"]["volumes"])
    assert targets["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert targets[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/fintunnel.json"


def test_the_dashboard_shows_every_metric_and_none_that_does_not_exist(live_app: LiveApp) -> None:
    live_app.post("/analyze", json={"task": "news", "text": "美联储宣布加息25个基点"})
    live_app.post("/analyze", json={})
    headers = {"Authorization": f"Bearer {live_app.api_key}"}
    text = httpx.get(f"{live_app.url}/metrics", headers=headers, trust_env=False).text
    text += Metrics(_Passes(), lambda: 0, _Tunnel()).text().decode()  # the app above has neither model nor tunnel
    there = set(re.findall(r"^(fintunnel_\w+?)(?:\{| )", text, re.MULTILINE))
    there |= {f"fintunnel_time_to_first_token_seconds_{end}" for end in ("bucket", "sum", "count")} & set(
        re.findall(r"fintunnel_time_to_first_token_seconds_\w+", text)
    )
    dashboard = _dashboard()
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for expression in expressions for name in re.findall(r"fintunnel_\w+", expression)}
    assert shown <= there, shown - there

    families = set(re.findall(r"^# TYPE (fintunnel_\w+?)(?:_total)? \w+$", text, re.MULTILINE))
    families = {name for name in families if not name.endswith("_created")}
    missing = {family for family in families if not any(name.startswith(family) for name in shown)}
    assert missing == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


class _Passes(InstantEngine):
    def occupancy(self) -> Occupancy:
        return Occupancy(running=1, pass_rows={1: 2})


class _Tunnel:
    state = TunnelState()


def _yaml(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def _dashboard() -> dict[str, Any]:
    loaded = json.loads((DEPLOY / "grafana" / "dashboards" / "fintunnel.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded
