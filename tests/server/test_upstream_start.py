"""Starting on an upstream: what is wrong is told in one line, what is right is taken over."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fintunnel.wire import Edges
from fintunnel_server.errors import ServerError, SettingsError, UpstreamUnreachable
from fintunnel_server.upstream import load_upstream_engine
from fintunnel_training.adapter import BaseInfo, file_sha256, write_manifest
from fintunnel_training.calibration.calibration_file import CALIBRATION, Calibration
from fintunnel_training.errors import AdapterError
from pydantic import SecretStr

from tests.server.upstream_stand_in import Reply, Upstream, upstream_server

EDGES = Edges(
    impact=(1.0, 2.0),
    direction=(-0.5, 0.5),
    priced_in_pre_return=0.002,
    wait_and_see_volatility=0.003,
    wait_and_see_pre_return=0.001,
    horizon_min=30,
)


def started(upstream: Upstream, model: str = "tuned", **options: Any) -> Any:
    with upstream_server(upstream):
        engine = load_upstream_engine(upstream.url, model, **options)
        asyncio.run(engine.close())
        return engine


def refused(upstream: Upstream, model: str = "tuned", **options: Any) -> tuple[type[ServerError], str]:
    with pytest.raises(ServerError) as error:
        started(upstream, model, **options)
    assert "\n" not in str(error.value)
    return type(error.value), str(error.value)


def test_nobody_at_the_address() -> None:
    upstream = Upstream()
    with upstream_server(upstream):
        pass
    with pytest.raises(UpstreamUnreachable, match="连不上上游 http://127.0.0.1"):
        load_upstream_engine(upstream.url, "tuned")


def test_a_wrong_key_is_told_without_showing_it() -> None:
    for key in (None, SecretStr("sk-wrong")):
        kind, message = refused(Upstream(api_key="sk-right"), api_key=key)
        assert kind is SettingsError and "FINTUNNEL_UPSTREAM_API_KEY" in message and "sk-" not in message
    kind, message = refused(Upstream(), api_key=SecretStr("sk-换行\n"))
    assert kind is SettingsError and "sk-" not in message
    assert started(Upstream(api_key="sk-right"), api_key=SecretStr(" sk-right\n")).info.continues_answers


def test_a_model_that_is_not_there_is_told_with_those_that_are() -> None:
    kind, message = refused(Upstream(), "other")
    assert kind is SettingsError and "other" in message and "tuned、plain" in message
    kind, message = refused(Upstream(), base_model="other")
    assert kind is SettingsError and "other" in message


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), SettingsError),
        (Reply(500), ServerError),
        (Reply(503), ServerError),
        (Reply(200, b"<html>welcome</html>"), ServerError),
        (Reply(403, b"<html>"), SettingsError),
    ],
)
def test_an_address_of_something_else(answer: Reply, kind: type[ServerError]) -> None:
    assert issubclass(refused(Upstream(model_list=answer))[0], kind)


def test_a_server_that_refuses_even_a_plain_request() -> None:
    kind, message = refused(Upstream(faults=[Reply(404, b'{"error":{"message":"no such model"}}')]))
    assert kind is SettingsError and "no such model" in message


def test_the_context_and_the_base_are_the_served_ones() -> None:
    info = started(Upstream()).info
    assert (info.context_tokens, info.base, info.has_base) == (2048, "plain", False)
    assert info.default_adapter == "tuned" and list(info.adapters) == ["tuned"]
    assert started(Upstream(), context_tokens=512).info.context_tokens == 512
    cards: list[dict[str, Any]] = [{"id": "org/gold", "meta": {"n_ctx": 1000}}, {"id": "b", "max_model_len": "many"}]
    info = started(Upstream(cards=cards), "org/gold", base_model="b").info
    assert (info.context_tokens, info.base, info.has_base, info.default_adapter) == (1000, "b", True, "gold")
    info = started(Upstream(model_list=Reply(404)), "gold").info
    assert (info.context_tokens, info.base) == (4096, "gold")


def test_counting_asks_nothing() -> None:
    upstream = Upstream()
    engine = started(upstream)
    asked = len(upstream.bodies)
    short, long = (engine.count_tokens([{"role": "user", "content": "金" * n}]) for n in (10, 1000))
    assert 10 < short < 100 and 1000 < long < 4000 and len(upstream.bodies) == asked


def test_an_adapter_folder_says_what_the_classes_mean(tmp_path: Path) -> None:
    folder = tmp_path / "gold"
    folder.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).write_bytes(b"{}")
    with pytest.raises(AdapterError):
        started(Upstream(), adapter=folder)
    assert started(Upstream(), adapter=folder, allow_unverified=True).info.adapter("tuned").edges is None
    base = BaseInfo(
        source="hub",
        id="org/base",
        revision=None,
        config_sha256="a",
        tokenizer_sha256="b",
        chat_template_sha256="c",
        weights_sha256=None,
    )
    write_manifest(
        folder,
        base=base,
        quantization="nf4",
        target_modules=[],
        prompt_version=1,
        edges=EDGES,
        splits={},
        data_sha256="",
        versions={},
    )
    info = started(Upstream(), adapter=folder).info
    assert info.base == "org/base" and info.adapter("tuned").edges == EDGES and info.adapter("tuned").horizon_min == 30
    assert info.adapter(None).edges is None
    weights = file_sha256(folder / "adapter_model.safetensors")
    fitted = Calibration(adapter=weights, data_sha256="0" * 64, rows=1, quantization=None, fields={})
    (folder / CALIBRATION).write_text(fitted.model_dump_json(), encoding="utf-8")
    assert started(Upstream(), adapter=folder).info.adapter("tuned").calibration == fitted
    assert started(Upstream(), adapter=folder, calibrated=False).info.adapter("tuned").calibration is None


_WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "numpy", "safetensors", "bitsandbytes", "gguf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import json
from fintunnel_server.upstream import load_upstream_engine
import fintunnel_server.analysis.analyze, fintunnel_server.analysis.generated_answer
print(json.dumps(load_upstream_engine(sys.argv[1], "tuned").info.continues_answers))
"""


def test_it_runs_without_the_model_libraries() -> None:
    upstream = Upstream()
    with upstream_server(upstream):
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_TORCH, upstream.url], capture_output=True, encoding="utf-8", check=False
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is True
