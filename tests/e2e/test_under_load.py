"""The real model behind the real app: callers that hang up, deadlines, a full queue, base and tuned at once."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fintunnel_server.inference.model_pass import Segment
from fintunnel_server.loading import load_local_engine
from fintunnel_server.local_engine import EngineLimits, LocalEngine

from tests.live_app import LiveApp, run_app

pytestmark = pytest.mark.e2e

HEADLINES = ["美联储宣布加息25个基点", "现货黄金短线走高15美元", "美国8月非农就业人口增加2.2万人，预期7.5万人"]


@pytest.fixture(scope="module")
def strong_adapter(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same adapter with its updates many times larger: whatever it touches shows."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("strong") / "tuned"
    folder.mkdir()
    weights = load_file(adapter / "adapter_model.safetensors")
    larger = {name: weight * (30 if "lora_B" in name else 1) for name, weight in weights.items()}
    save_file(larger, folder / "adapter_model.safetensors")
    shutil.copy(adapter / "adapter_config.json", folder)
    return folder


@pytest.fixture
def engine(strong_adapter: Path) -> LocalEngine:
    limits = EngineLimits(max_rows=4, max_waiting=3)
    return load_local_engine(
        "embedded", {"tuned": strong_adapter}, quantization="none", limits=limits, allow_unverified=True
    )


@pytest.fixture
def slow(engine: LocalEngine) -> None:
    """As if the model were a large one: even a short text takes its time."""
    run = engine._model.run

    def slowly(segments: Sequence[Segment]) -> Any:
        time.sleep(0.25)
        return run(segments)

    engine._model.run = slowly  # type: ignore[method-assign]


@pytest.fixture
def app(engine: LocalEngine) -> Iterator[LiveApp]:
    with run_app(engine, api_key="k", request_timeout=60) as app:
        assert until(lambda: httpx.get(f"{app.url}/ready", trust_env=False).status_code == 200)
        yield app


def until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not holds():
        time.sleep(0.02)
    return holds()


def ask(app: LiveApp, text: str, **more: Any) -> httpx.Response:
    body = {"task": "news", "text": text, **more}
    headers = {"Authorization": "Bearer k"}
    return httpx.post(f"{app.url}/analyze", json=body, headers=headers, timeout=120, trust_env=False)


def hang_up(app: LiveApp, number: int, when: Callable[[], bool]) -> None:
    body = json.dumps({"task": "news", "text": f"{HEADLINES[number % 3]}（{number}）", "max_tokens": 512}).encode()
    with socket.create_connection(("127.0.0.1", int(app.url.rpartition(":")[2]))) as caller:
        caller.sendall(
            b"POST /analyze HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert until(when)


@pytest.mark.usefixtures("slow")
def test_callers_that_hang_up_free_their_rows_and_stop_the_work(app: LiveApp, engine: LocalEngine) -> None:
    with ThreadPoolExecutor(6) as pool:
        # Four in the model, two waiting; all leave once the four are there.
        list(pool.map(lambda number: hang_up(app, number, lambda: engine.rows_in_use == 4), range(6)))
    assert until(lambda: engine.rows_in_use == 0, 5)
    time.sleep(0.3)
    passes = engine.passes
    time.sleep(0.7)
    assert engine.passes == passes  # nothing is computed for nobody
    assert ask(app, HEADLINES[0], max_tokens=4).status_code == 200


@pytest.mark.usefixtures("slow")
def test_a_full_queue_says_when_to_come_again(app: LiveApp, engine: LocalEngine) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: ask(app, f"{HEADLINES[0]}{number}", max_tokens=24), range(12)))
    by_status = {status: [a for a in answers if a.status_code == status] for status in (200, 429)}
    assert len(by_status[200]) + len(by_status[429]) == 12
    assert len(by_status[200]) >= 7 and by_status[429]  # four rows and three places
    for refused in by_status[429]:
        assert refused.json()["error"]["code"] == "queue_full" and int(refused.headers["retry-after"]) >= 1
    assert until(lambda: engine.rows_in_use == 0, 5)


@pytest.mark.usefixtures("slow")
def test_a_deadline_tells_the_labels_that_were_reached(engine: LocalEngine) -> None:
    with run_app(engine, api_key="k", request_timeout=1.6) as app:
        assert until(lambda: httpx.get(f"{app.url}/ready", trust_env=False).status_code == 200)
        answers = [ask(app, text, max_tokens=512) for text in HEADLINES]
        late = [answer.json()["error"] for answer in answers if answer.status_code == 504]
        assert late and all("已得到：影响" in error["message"] for error in late)
        assert until(lambda: engine.rows_in_use == 0, 5)


def test_base_and_tuned_hammered_at_once_do_not_mix(app: LiveApp) -> None:
    questions = [(text, adapter) for text in HEADLINES for adapter in ("tuned", "base")]

    def labels(question: tuple[str, str]) -> Any:
        while (answer := ask(app, question[0], adapter=question[1], explain=False)).status_code == 429:
            time.sleep(0.1)
        given = answer.json()
        assert given["model"]["adapter"] == (None if question[1] == "base" else "tuned")
        return given["impact_probs"], given["direction_probs"]

    alone = {question: labels(question) for question in questions}
    with ThreadPoolExecutor(6) as pool:
        hammered = list(pool.map(labels, questions * 8))
    for question, given in zip(questions * 8, hammered, strict=True):
        for ours, theirs in zip(given, alone[question], strict=True):
            assert all(abs(ours[label] - theirs[label]) < 0.05 for label in theirs)
    for text in HEADLINES:  # and the two do differ
        tuned, base = alone[text, "tuned"][0], alone[text, "base"][0]
        assert max(abs(tuned[label] - base[label]) for label in base) > 0.2
