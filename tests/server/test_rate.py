"""The rating page's app over loopback."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fintunnel.chinese import SCALES_ZH
from fintunnel.rating_file import RatingFile
from fintunnel_server.rate import app as rate_app
from fintunnel_server.rate.order import places_for
from fintunnel_server.rate.serving import rate_server

from tests.live_app import run_server
from tests.rated_pairs import BASE, TUNED, news_pair, next_pair, rating, rating_file

PAGE = Path(rate_app.__file__).parent / "page"
PAIRS = 12


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RatingFile]:
    with rating_file(tmp_path / "ratings.sqlite", PAIRS) as made:
        yield made


@pytest.fixture
def http(file: RatingFile) -> Iterator[httpx.Client]:
    with run_server(rate_server(file)) as url, httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
        client.headers["Origin"] = url  # as a browser says of the page's own requests
        yield client


def rate_all(http: httpx.Client, rater: str) -> list[dict[str, Any]]:
    """Finds the tuned model's answer better wherever it stands, and scores it 5 against 2."""
    seen: list[dict[str, Any]] = []
    while (pair := next_pair(http, rater)["pair"]) is not None:
        side, other = ("left", "right") if pair["left"]["text"].startswith("「") else ("right", "left")
        scores: dict[str, object] = {side: {"wording": 5, "usefulness": 5}, other: {"wording": 2}}
        given = rating(pair, rater, side, **scores)
        answer = http.post("/ratings", json=given)
        assert answer.json() == {"rated": len(seen) + 1, "total": PAIRS}
        seen.append(pair)
    return seen


def test_sides_are_mapped_back_to_systems(http: httpx.Client, file: RatingFile) -> None:
    for rater in ("张三", "李四", "王五"):
        rate_all(http, rater)
    kept = file.ratings()
    assert len(kept) == 3 * PAIRS and {each.verdict for each in kept} == {"first"}
    assert all(each.scores_first == {"wording": 5, "usefulness": 5} for each in kept)
    assert all(each.scores_second == {"wording": 2} for each in kept)
    assert all(each.seconds == 3.5 and each.at.utcoffset() is not None for each in kept)


def test_orders_differ_and_sides_are_balanced(http: httpx.Client) -> None:
    seen = {rater: rate_all(http, rater) for rater in ("张三", "李四")}
    orders = [[pair["pair"] for pair in pairs] for pairs in seen.values()]
    assert orders[0] != orders[1] and set(orders[0]) == set(orders[1])
    sides = [{pair["pair"]: pair["left"]["text"][0] for pair in pairs} for pairs in seen.values()]
    assert sides[0] != sides[1]
    assert [sum(side == "「" for side in each.values()) for each in sides] == [PAIRS // 2, PAIRS // 2]


def test_a_pair_is_the_same_until_it_is_rated_also_after_a_restart(http: httpx.Client, file: RatingFile) -> None:
    first = next_pair(http, "张三")
    assert first["rated"] == 0 and first["total"] == PAIRS and first["pair"]["position"] == 1
    assert next_pair(http, " 张三\u3000") == first
    with run_server(rate_server(file)) as url:
        again = httpx.get(f"{url}/pairs", params={"rater": "张三"}, trust_env=False)
    assert again.json() == first
    http.post("/ratings", json=rating(first["pair"], "张三"))
    second = next_pair(http, "张三")
    assert second["rated"] == 1 and second["pair"]["position"] == 2 and second["pair"]["pair"] != first["pair"]["pair"]


def test_what_was_said_is_shown_again_and_can_be_changed(http: httpx.Client, file: RatingFile) -> None:
    scores: dict[str, object] = {"left": {"wording": 4}, "right": {"reasoning": 1}}
    for position in range(1, PAIRS + 1):  # among them are both sides
        pair = next_pair(http, "张三")["pair"]
        http.post("/ratings", json=rating(pair, "张三", "right", **scores))
        back = http.get(f"/pairs/{position}", params={"rater": "张三"}).json()["pair"]
        assert back == pair | {"rating": {"verdict": "right", "seconds": 3.5, **scores}}
    assert {each.verdict for each in file.ratings()} == {"first", "second"}
    assert http.get("/pairs/1", params={"rater": "李四"}).json()["pair"]["rating"] is None
    assert http.post("/ratings", json=rating(pair, "张三", "equal")).json() == {"rated": PAIRS, "total": PAIRS}
    [changed] = [each for each in file.ratings() if each.verdict == "equal"]
    assert changed.pair == pair["pair"] and changed.scores_first == changed.scores_second == {}


def test_nothing_tells_whose_answer_it_is(http: httpx.Client, file: RatingFile) -> None:
    texts = [http.get(f"/pairs/{at}", params={"rater": "张三"}) for at in range(1, PAIRS + 1)]
    pair = next_pair(http, "张三")["pair"]
    texts += [http.post("/ratings", json=rating(pair, "张三")), http.post("/ratings", json=rating(pair, "张三", "no"))]
    texts += [http.get("/pairs", params={"rater": "张三"}), http.get("/pairs/99", params={"rater": "张三"})]
    texts += [http.get(path) for path in served_files()]
    for response in texts:
        whole = f"{response.headers} {response.text}"
        assert not any(word in whole for word in (TUNED, BASE, "adapter", "max_tokens", file.seed)), response.url
    assert set(pair) == {"pair", "position", "question", "left", "right", "rating"}
    assert set(pair["left"]) == {"lines", "text"}


def test_a_drawing_is_hidden_by_the_files_secret_and_stays_when_pairs_are_added() -> None:
    keys = [f"{number:064x}" for number in range(41)]
    places = places_for("张三", keys, "seed")
    assert sorted(place.key for place in places) == keys
    assert sum(place.first_is_left for place in places) in (20, 21)
    assert places != places_for("张三", keys, "another seed")
    fewer = places_for("张三", keys[:30], "seed")
    assert [place for place in places if place.key in keys[:30]] == fewer
    # Neither the order nor the one before tells the side.
    runs = sum(a.first_is_left == b.first_is_left for a, b in zip(places, places[1:], strict=False))
    assert 10 <= runs <= 30
    lefts = [sum(places_for(f"评{n}", keys, "seed")[0].first_is_left for n in range(200))]
    assert 70 <= lefts[0] <= 130


def test_two_raters_at_once_lose_nothing(http: httpx.Client, file: RatingFile) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda rater: rate_all(http, rater), ["甲", "乙", "丙", "丁"]))
    assert len(file.ratings()) == 4 * PAIRS and {each.verdict for each in file.ratings()} == {"first"}
    assert next_pair(http, "甲") == {"rated": PAIRS, "total": PAIRS, "pair": None}


def test_pairs_that_are_added_meanwhile_are_shown(http: httpx.Client, file: RatingFile) -> None:
    rate_all(http, "张三")
    with RatingFile(file.path) as other:
        other.add_pairs([news_pair(100)])
    answer = next_pair(http, "张三")
    assert answer["total"] == PAIRS + 1 and "第100次" in answer["pair"]["question"]["text"]


# --- who may ask, and what --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "10.0.0.5:8001", ""])
@pytest.mark.parametrize("path", ["/", "/rate/main.js", "/pairs?rater=a"])
def test_other_host_names_are_refused(http: httpx.Client, host: str, path: str) -> None:
    response = http.get(path, headers={"Host": host})
    assert response.status_code == 401 and "127.0.0.1" in response.json()["error"]["message"]


def test_this_machines_names_are_taken(http: httpx.Client) -> None:
    port = http.base_url.port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert http.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "https://127.0.0.1", "http://127.0.0.1:1", None])
def test_other_pages_change_nothing(http: httpx.Client, file: RatingFile, origin: str | None) -> None:
    pair = next_pair(http, "张三")["pair"]
    del http.headers["Origin"]
    headers = {} if origin is None else {"Origin": origin}
    response = http.post("/ratings", json=rating(pair, "张三"), headers=headers)
    assert response.status_code == 401 and "评分页面" in response.json()["error"]["message"]
    assert file.ratings() == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken(http: httpx.Client, file: RatingFile, kind: str) -> None:
    pair = next_pair(http, "张三")["pair"]
    body = httpx.Request("POST", "http://x", json=rating(pair, "张三")).content
    response = http.post("/ratings", content=body, headers={"Content-Type": kind})
    assert response.status_code == 415 and file.ratings() == []
    # `$` in a route's pattern matches before a line end: its guard would know it under another name.
    assert http.post("/ratings%0A", content=body, headers={"Content-Type": kind}).status_code == 404
    assert file.ratings() == []


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "first"},
        {"verdict": None},
        {"left": {"wording": 0}},
        {"left": {"wording": 6}},
        {"right": {"wording": "5"}},
        {"right": {"wording": True}},
        {"right": {"wording": 2.5}},
        {"left": {"beauty": 3}},
        {"left": [5]},
        {"seconds": -1},
        {"seconds": 1e9},
        {"rater": "\u200b"},
        {"rater": "a" * 41},
        {"rater": "  "},
        {"note": "?"},
    ],
)
def test_a_rating_that_makes_no_sense_is_refused(
    http: httpx.Client, file: RatingFile, change: dict[str, object]
) -> None:
    pair = next_pair(http, "张三")["pair"]
    response = http.post("/ratings", json=rating(pair, "张三") | change)
    error = response.json()["error"]
    assert response.status_code == 422 and error["code"] == "invalid_request" and error["param"]
    assert re.search("[\u4e00-\u9fff]", error["message"]) and error["request_id"].startswith("req-")
    assert file.ratings() == []


def test_what_is_not_there_is_said_in_the_contracts_body(http: httpx.Client) -> None:
    unknown = http.post("/ratings", json=rating({"pair": "0" * 64}, "张三"))
    assert unknown.status_code == 404 and unknown.json()["error"]["param"] == "pair"
    for path in ("/pairs/0", f"/pairs/{PAIRS + 1}", "/pairs/-1", "/nowhere", "/docs", "/openapi.json", "/page/main.js"):
        response = http.get(path, params={"rater": "张三"})
        assert response.status_code == 404 and response.json()["error"]["code"] == "not_found", path
    assert http.get("/pairs/one", params={"rater": "张三"}).status_code == 422
    assert http.get("/pairs").status_code == 422 and http.get("/pairs", params={"rater": " "}).status_code == 422
    assert http.post("/pairs", json={}).status_code == 405
    assert http.post("/ratings", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    large = http.post("/ratings", json=rating({"pair": "0" * 64}, "a" * 20_000))
    assert large.status_code == 413 and large.json()["error"]["code"] == "body_too_large"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows moves no file that is open")
def test_a_file_that_went_away_is_said_to_have(http: httpx.Client, file: RatingFile) -> None:
    pair = next_pair(http, "张三")["pair"]
    file.path.unlink()
    response = http.post("/ratings", json=rating(pair, "张三"))
    assert response.status_code == 500 and "写不进去" in response.json()["error"]["message"]
    assert response.headers["x-frame-options"] == "DENY"


# --- the page's files ---------------------------------------------------------------------------------------


def served_files() -> list[str]:
    own = [
        f"/{'page' if p.name.startswith('texts_') else 'rate'}/{p.name}" for p in PAGE.iterdir() if p.suffix != ".html"
    ]
    return ["/", *own, *(f"/page/{name}" for name in rate_app.SHARED_FILES)]


def test_every_file_is_served_under_a_strict_policy(http: httpx.Client) -> None:
    for address in served_files():
        response = http.get(address)
        assert response.status_code == 200, address
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert response.headers["cache-control"] == "no-cache" and "set-cookie" not in response.headers
    answer = http.get("/pairs", params={"rater": "张三"})
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"


def test_whatever_a_module_imports_is_served(http: httpx.Client) -> None:
    for address in served_files():
        if address.endswith(".js"):
            for name in re.findall(r'from "([^"]+)"', http.get(address).text):
                target = httpx.URL(str(http.base_url.join(address))).join(name)
                assert http.get(target).status_code == 200, (address, name)


def test_markup_has_nothing_inline_and_texts_become_text_nodes() -> None:
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", markup)
    assert all(each.startswith(("/", "#")) for each in re.findall(r'(?:src|href|action)="([^"]*)"', markup))
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert (
            "//" not in re.sub(r"/\*.*?\*/|(?m:^\s*//.*$|; //.*$|, //.*$)", "", text, flags=re.S)
            or path.suffix != ".js"
        )
        assert not re.search(r"https?:", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path


def test_the_scales_are_called_as_everywhere() -> None:
    words = (PAGE / "texts_zh.js").read_text(encoding="utf-8")
    assert all(f'  {scale}: "{name}",' in words for scale, name in SCALES_ZH.items())
