"""compose.yaml: every reference leads somewhere. Its processes: test_compose_started.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fintunnel import NewsRequest
from fintunnel_server.settings import ServerSettings
from fintunnel_training.qlora.recipe import load_recipe

from tests.balancer import CONFIGURATION, haproxy
from tests.compose_file import MissingVariable, interpolated, load, started, variables_of
from tests.loopback import QuietHandler, serving
from tools.dockerfile import Dockerfile

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KEY = "compose-key-0123456789"
# Those whose check compose.yaml has, and their ports inside.
CHECKED = {"balancer": "8080", "vllm": "8000", "prometheus": "9090", "grafana": "3000"}
UPS = {"alone": ["app"], "scale": ["balancer"], "monitor": ["prometheus", "grafana"]}


class Healthy(QuietHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load(ROOT / "compose.yaml", {"FINTUNNEL_API_KEY": KEY})


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


def test_interpolation_is_composes() -> None:
    assert interpolated("${A:-x}${A-y}${B:-${C}}${B-z}", {"A": "", "C": "c"}) == "xcz"
    with pytest.raises(MissingVariable, match="set it"):
        interpolated("${A:?set it}", {"A": ""})


def test_without_a_key_nothing_starts_and_the_message_says_what_to_do() -> None:
    for environment in ({}, {"FINTUNNEL_API_KEY": ""}):
        with pytest.raises(MissingVariable, match=r"FINTUNNEL_API_KEY.*\.env.*openssl rand"):
            load(ROOT / "compose.yaml", environment)


def test_the_key_is_all_that_has_to_be_set_and_stands_on_no_command_line(services: dict[str, dict[str, Any]]) -> None:
    holders = {name for name, service in services.items() if KEY in json.dumps(service.get("environment", {}))}
    assert holders == {"app", "replica-1", "replica-2", "vllm"}
    for service in services.values():
        assert KEY not in json.dumps([service.get("command"), service.get("healthcheck"), service.get("build")])


def test_the_documents_table_has_every_variable_with_its_default() -> None:
    document = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    table = document.partition("| variable | if unset | is |")[2].partition("\n\n")[0]
    told = {name: default.strip("`") for name, default in re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE)}
    read = variables_of(ROOT / "compose.yaml")
    assert set(told) == set(read)
    for name, default in read.items():
        expected = {None: "nothing starts", "": "none"}.get(default, default)
        assert told[name] == expected, name


def test_each_profile_starts_what_it_should(services: dict[str, dict[str, Any]], compose: dict[str, Any]) -> None:
    assert started(compose, UPS["alone"]) == {"app"}
    assert started(compose, UPS["scale"]) == {"balancer", "replica-1", "replica-2", "vllm"}
    assert started(compose, UPS["monitor"]) == {"prometheus", "grafana"}
    profiles = {name: service.get("profiles") for name, service in services.items()}
    assert [name for name, given in profiles.items() if given is None] == ["app"]
    for profile in ("scale", "monitor"):
        assert {name for name, given in profiles.items() if given == [profile]} == started(compose, UPS[profile])


def test_ports_are_this_machines_own_and_collide_in_no_profile(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    outside = [port.split(":")[1] for port in published]
    assert len(set(outside)) == len(outside) == 4
    assert not any("ports" in services[name] for name in ("replica-1", "replica-2", "vllm"))


def test_images_are_pinned_and_builds_are_variants_of_the_dockerfile(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = Dockerfile.read(ROOT / "Dockerfile")
    for service in services.values():
        _, _, tag = service["image"].partition(":")
        assert tag and tag != "latest"
        if "build" not in service:
            assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag)
            continue
        given = service["build"]["args"]
        stages = dockerfile.needed(given)
        accepted = {step.arguments.partition("=")[0] for stage in stages for step in stage.steps if step.name == "ARG"}
        assert set(given) <= accepted | set(dockerfile.arguments)
        assert tag == given["VARIANT"]


def test_what_is_mounted_exists_or_is_declared(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    used = set()
    for service in services.values():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if not source.startswith("."):
                used.add(source)
                continue
            assert mode == ["ro"]
            assert source == "./models" or (ROOT / source).exists(), source
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
        for name in service.get("depends_on", {}):
            assert name in services
    assert used == set(compose["volumes"])


def test_those_that_are_waited_for_to_be_healthy_have_a_check(services: dict[str, dict[str, Any]]) -> None:
    own_image = {name for name, service in services.items() if "build" in service}  # its check is in the Dockerfile
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_started", "service_healthy")
            assert how["condition"] == "service_started" or "healthcheck" in services[name] or name in own_image
    assert {name for name, service in services.items() if "healthcheck" not in service} == own_image


@pytest.mark.parametrize("name", ["balancer", "vllm", "prometheus", "grafana"])
def test_a_health_check_tells_a_server_from_none_whatever_proxy_is_set(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    assert {each for each, service in services.items() if "healthcheck" in service} == set(CHECKED)
    how, program, *arguments = services[name]["healthcheck"]["test"]
    if (found := shutil.which(program)) is None:
        pytest.skip(f"no {program}")  # busybox' wget in the images; GNU's has the same options
    inside = CHECKED[name]
    environment = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    statuses = []
    with serving(Healthy) as url:
        for there in (url.rpartition(":")[2], "9"):
            here = [re.sub(rf"(?<=127\.0\.0\.1[:/]){inside}\b", there, word) for word in arguments]
            assert here != arguments
            run = subprocess.run([found, *here], env=environment, capture_output=True, check=False, timeout=30)
            statuses.append(run.returncode == 0)
    assert how == "CMD" and statuses == [True, False]


def test_containers_get_no_rights_and_time_to_finish(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"] and service["restart"] == "unless-stopped"
        assert service.get("cap_drop") == (None if name == "vllm" else ["ALL"])
        assert "stop_signal" not in service
        # Compose cannot hand a secret from the environment to a container that is read-only.
        assert not (service.get("read_only") and service.get("secrets"))
        drain = service.get("environment", {}).get("FINTUNNEL_DRAIN_SECONDS")
        if drain is not None:
            # Afterwards: 3 s for telling, 5 s for connections (fintunnel_server.running.server).
            assert int(service["stop_grace_period"].removesuffix("s")) >= drain + 8
    text = CONFIGURATION.read_text(encoding="utf-8")
    written = dict(re.findall(r"^ *(hard-stop-after|timeout server) +(\d+)s$", text, re.MULTILINE))
    grace = int(services["balancer"]["stop_grace_period"].removesuffix("s"))
    assert grace > int(written["hard-stop-after"]) > int(written["timeout server"])
    assert all(services[name]["read_only"] for name in ("app", "balancer", "replica-1", "replica-2"))


def test_replicas_and_vllm_speak_of_the_same_models(services: dict[str, dict[str, Any]]) -> None:
    vllm, replica = services["vllm"], services["replica-1"]
    assert replica == services["replica-2"]
    options = dict(word.split("=", 1) for word in replica["command"] if "=" in word)
    assert options["--upstream"] == "http://vllm:8000"
    name, _, folder = vllm["command"][vllm["command"].index("--lora-modules") + 1].partition("=")
    assert (options["--upstream-model"], options["--adapter"]) == (name, folder)
    # `vllm serve` says of --model that it will be gone.
    assert vllm["entrypoint"] == ["vllm", "serve"] and vllm["command"][0] == options["--upstream-base"]
    given = dict(word.split("=") for word in vllm["command"] if word.startswith("--max-"))
    longest_answer = NewsRequest.model_json_schema()["properties"]["max_tokens"]["maximum"]
    assert int(given["--max-model-len"]) == ServerSettings.model_fields["max_prompt_tokens"].default + longest_answer
    assert int(given["--max-lora-rank"]) == load_recipe("t4", {}).lora_r
    mounted = [volume.split(":")[1] for volume in vllm["volumes"]]
    assert folder.rsplit("/", 1)[0] in mounted and replica["volumes"][0] in vllm["volumes"]
    assert replica["environment"]["FINTUNNEL_UPSTREAM_API_KEY"] == vllm["environment"]["VLLM_API_KEY"] == KEY


def test_the_balancers_configuration_is_valid(services: dict[str, dict[str, Any]]) -> None:
    environment = services["balancer"]["environment"]
    words = set(re.findall(r'"\$\{(\w+)\}"', (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")))
    assert words == set(environment)
    # The names that Docker resolves there are unknown here.
    here = {name: value.replace("replica-", "127.0.0.") for name, value in environment.items()}
    done = subprocess.run(
        [haproxy(), "-c", "-f", str(DEPLOY / "haproxy.cfg")], env=here, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0 and "[WARNING]" not in done.stderr, done.stderr
