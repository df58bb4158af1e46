"""The page's modules, each on its own, in the browser that runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fintunnel.prompt import render_prompt
from fintunnel.wire import NewsRequest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.two_models import TwoModels
from tests.browser.watched_page import WatchedPage
from tests.live_app import LiveApp

pytestmark = pytest.mark.browser

PAGE = Path(__file__).parents[2] / "server" / "fintunnel_server" / "page"

# What shells, Python and PowerShell give a meaning to.
AWKWARD = (
    "某公司'利好'\"增长\"$HOME `date` $(id) \\n \\\\ 100% !! {x}\n第二行\t‘弯’“引号”🙂 '@ \"@ '\\'' EOF \x7f</news>"
)


@pytest.fixture
def watched(open_page: OpenPage, app: LiveApp) -> WatchedPage:
    return open_page(app.url)


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    return watched.page


def test_events_are_read_however_their_bytes_are_cut(page: Page) -> None:
    stream = (
        '\ufeff: alive\r\nevent: analysis\r\ndata: {"a":"金价"}\r\n\r\n: alive\r\n\r\n'
        "event: token\ndata: {\ndata:}\nid: 7\n\nevent:done\rdata:🙂\r\rdata: no name\n\n"
        "event: lost\n\ndata: never ended"
    ).encode()
    expected = [
        {"event": "analysis", "data": '{"a":"金价"}'},
        {"event": "token", "data": "{\n}"},
        {"event": "done", "data": "🙂"},
        {"event": "message", "data": "no name"},
    ]
    results = page.evaluate(
        """async (bytes) => {
            const { EventParser } = await import("/page/sse.js");
            const all = new Uint8Array(bytes);
            const read = (pieces) => {
                const [parser, decoder] = [new EventParser(), new TextDecoder()];
                return pieces.flatMap((piece) => parser.feed(decoder.decode(piece, { stream: true })));
            };
            const single = Array.from(all, (_, at) => all.subarray(at, at + 1));
            const cuts = single.map((_, at) => [all.subarray(0, at), all.subarray(at)]);
            return [...cuts, single].map(read);
        }""",
        list(stream),
    )
    assert len(results) == len(stream) + 1
    assert all(result == expected for result in results)


def test_csv_cells_are_quoted_and_no_formula(page: Page) -> None:
    text = page.evaluate(
        """async () => (await import("/page/csv.js")).toCsv([
            ["=1+1", "+1", "-1", "@a", "\\tx", "\\rx", "＝1", "a=1"],
            ['a"b', "a,b", "a\\nb", null, undefined, 0, -0.5, ""],
        ])"""
    )
    assert text == ('\ufeff\'=1+1,\'+1,\'-1,\'@a,\'\tx,"\'\rx",\'＝1,a=1\r\n"a""b","a,b","a\nb",,,0,-0.5,\r\n')


def test_a_difference_of_texts_gives_both_back(page: Page) -> None:
    result = page.evaluate(
        """async () => {
            const { diffTexts } = await import("/page/diff.js");
            const long = ["甲".repeat(800), "乙".repeat(800)];
            return [["金价上涨0.3%。", "金价下跌0.3%！"], ["", "新"], ["同", "同"], ["", ""], long]
                .map(([a, b]) => [a, b, diffTexts(a, b)]);
        }"""
    )
    for before, after, segments in result:
        assert "".join(each["text"] for each in segments["before"]) == before
        assert "".join(each["text"] for each in segments["after"]) == after
        common = [[s["text"] for s in segments[side] if not s["changed"]] for side in ("before", "after")]
        assert "".join(common[0]) == "".join(common[1])
    assert [s["text"] for s in result[0][2]["after"] if s["changed"]] == ["下跌", "！"]


def test_a_wait_that_the_server_asks_for_is_counted_down(page: Page) -> None:
    disabled = """() => document.querySelector("#news .retry").disabled"""
    page.evaluate(
        """async () => {
            const { Failure } = await import("/page/api.js");
            const { failureView } = await import("/page/failure_view.js");
            const busy = new Failure("server", { status: 429, message: "忙", code: "queue_full", retryAfter: 1 });
            document.querySelector("#news .results").prepend(failureView(busy, () => {}));
        }"""
    )
    assert page.evaluate(disabled) and "1 秒后可以重试" in page.inner_text("#news .failure")
    page.wait_for_timeout(1300)
    assert not page.evaluate(disabled)


def test_a_busy_batch_waits_and_goes_on(page: Page, watched: WatchedPage) -> None:
    """Something before the server says 429 twice; the answer after that is the server's."""
    watched.expected.append("status of 429")
    answers = [429, 429]

    def refuse(route: Any) -> None:
        if answers:
            error = {
                "message": "忙",
                "type": "rate_limit_error",
                "code": "queue_full",
                "param": None,
                "request_id": "r",
            }
            route.fulfill(status=answers.pop(), headers={"Retry-After": "1"}, json={"error": error})
        else:
            route.continue_()

    page.route("**/analyze/batch", refuse)
    waited = page.evaluate(
        """async () => {
            const { runBatch } = await import("/page/batch.js");
            const { apiKey } = await import("/page/storage.js");
            apiKey.set("right-key", false);
            const [waits, results] = [[], []];
            await runBatch([{ task: "news", text: "某国央行宣布降息", explain: false }], {
                signal: new AbortController().signal,
                waiting: (seconds) => waits.push(seconds),
                result: (index, result) => results.push([index, result.analysis.impact]),
            });
            return [waits, results];
        }"""
    )
    assert waited == [[1, 1], [[0, "high"]]]


def snippets(page: Page, url: str, request: dict[str, Any]) -> dict[str, str]:
    made = page.evaluate(
        """async ([url, request]) => {
            const { SNIPPETS } = await import("/page/snippets.js");
            return Object.fromEntries(Object.entries(SNIPPETS).map(([name, make]) => [name, make(url, request)]));
        }""",
        [url, request],
    )
    assert isinstance(made, dict)
    return made


def run_bash(code: str, environment: dict[str, str]) -> str:
    bash = shutil.which("bash")
    if bash is None or shutil.which("curl") is None or os.name == "nt":
        pytest.skip("no bash with curl")
    return subprocess.run(
        [bash, "-c", code], env=environment, capture_output=True, check=True, timeout=30
    ).stdout.decode()


def run_python(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], env=environment, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("name", "run"),
    [("curl (bash)", run_bash), ("Python · fintunnel", run_python), ("Python · httpx", run_python)],
    ids=["curl", "client", "httpx"],
)
def test_copied_code_asks_exactly_what_the_page_would(
    page: Page, app: LiveApp, models: TwoModels, name: str, run: Callable[[str, dict[str, str]], str]
) -> None:
    request = {
        "task": "news",
        "text": AWKWARD,
        "importance": 3,
        "context": {
            "ticker": "XAUUSD",
            "window_min": 120,
            "pre_return": 0.0018,
            "volatility": 1e-7,
            "typical_move": 0.1,
        },
        "explain": False,
        "adapter": "tuned",
    }
    code = snippets(page, app.url, request)[name]
    assert "right-key" not in code and "FINTUNNEL_API_KEY" in code
    before = len(models.asked)
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    answer = json.loads(run(code, inherited | {"FINTUNNEL_API_KEY": "right-key"}))
    assert answer["impact"] == "high"
    expected = render_prompt(NewsRequest.model_validate(request), horizon_min=15).messages()
    assert models.asked[before:] == [expected]


def test_powershell_code_holds_the_request_where_nothing_is_special(page: Page, app: LiveApp) -> None:
    request = {"task": "news", "text": AWKWARD}
    code = snippets(page, app.url, request)["PowerShell"]
    lines = code.split("\n")
    # A here-string ends at the first line that begins with '@ (PowerShell takes ‘ ’ ‚ ‛ for ' too).
    assert lines[0] == "$body = @'" and json.loads(lines[1]) == request
    assert [number for number, line in enumerate(lines) if re.match("['‘’‚‛]@", line)] == [2]
    assert "[Text.Encoding]::UTF8.GetBytes($body)" in code and "charset=utf-8" in code
    assert '"Bearer $env:FINTUNNEL_API_KEY"' in code and "right-key" not in code
    if pwsh := shutil.which("pwsh"):
        environment = {**os.environ, "FINTUNNEL_API_KEY": "right-key"}
        done = subprocess.run([pwsh, "-NoProfile", "-Command", code], env=environment, capture_output=True, check=True)
        assert json.loads(done.stdout.decode())["impact"] == "high"


def test_both_languages_have_every_text_that_is_used(page: Page) -> None:
    texts = page.evaluate(
        """async () => {
            const { zh } = await import("/page/texts_zh.js");
            const { en } = await import("/page/texts_en.js");
            return [zh, en];
        }"""
    )
    assert texts[0].keys() == texts[1].keys()
    placeholders = [{name: set(re.findall(r"\{\w+\}", text)) for name, text in each.items()} for each in texts]
    assert placeholders[0] == placeholders[1]
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js") if not path.name.startswith("texts_"))
    used = set(re.findall(r'data-i18n(?:-\w+)?="(\w+)"', markup)) | set(re.findall(r'\bt\("(\w+)"', code))
    assert used <= texts[0].keys()
    named = {name for name in texts[0] if re.search(rf'["`]{name}["`]', code + markup)}
    made = {name for name in texts[0] if name.startswith("failure_")}  # of a failure's kind
    assert texts[0].keys() - named - made - set(re.findall(r"\b(\w+):", code)) == set()
