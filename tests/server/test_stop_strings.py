from __future__ import annotations

import pytest
from fintunnel_server.chat.stop_strings import StopStrings
from fintunnel_server.engine import Piece, TokenLogprob


def read(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    stop = StopStrings(stops)
    given = []
    for piece in pieces:
        given += stop.feed(Piece(piece))
        if stop.found:
            return [piece.text for piece in given], True
    return [piece.text for piece in [*given, *stop.rest()]], False


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_stop_string_is_found_however_it_is_split(cut: int) -> None:
    text = "利率上行。END以后"
    given, found = read(["END", "绝无"], [text[:cut], text[cut:]])
    assert ("".join(given), found) == ("利率上行。", True)
    given, found = read(["END"], list(text))
    assert ("".join(given), found) == ("利率上行。", True)


def test_the_earliest_of_several_ends_the_text() -> None:
    assert read(["c", "b"], ["abcd"]) == (["a"], True)


def test_what_only_looked_like_a_beginning_is_given_after_all() -> None:
    assert read(["ababc"], list("xabababd")) == (list("xabababd"), False)
    assert read(["ababc"], list("xabab")) == (list("xabab"), False)
    assert read(["ababc"], list("abababc")) == (["a", "b"], True)


def test_without_stop_strings_nothing_is_held_back() -> None:
    stop = StopStrings([])
    assert [piece.text for piece in stop.feed(Piece("a"))] == ["a"] and not stop.rest()


def test_tokens_before_the_stop_string_keep_their_logprobs() -> None:
    def piece(text: str) -> Piece:
        return Piece(text, [TokenLogprob(text, -1.0, text.encode())])

    stop = StopStrings(["停止"])
    given = [one for text in ("好", "", "。停", "止") for one in stop.feed(piece(text))]
    assert stop.found and [one.text for one in given] == ["好", "", "。"]
    assert [token.text for one in given for token in one.tokens] == ["好", "", "。停"]
