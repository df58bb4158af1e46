from __future__ import annotations

import json
import random

import pytest
from fintunnel.json_string import JsonStringReader


def read(text: str, sizes: list[int] | None = None) -> tuple[str, bool]:
    reader = JsonStringReader()
    pieces, at = [], 0
    for size in sizes or [len(text)]:
        pieces.append(reader.feed(text[at : at + size]))
        at += size
    pieces.append(reader.feed(text[at:]))
    return "".join(pieces), reader.closed


@pytest.mark.parametrize(
    ("written", "value", "closed"),
    [
        ('金价上涨"}', "金价上涨", True),
        ("没有写完", "没有写完", False),
        (r'他说\"买\"。"', '他说"买"。', True),
        (r'路径\\"', "路径\\", True),
        (r'换行\n两次\n\n。"', "换行 两次 。", True),
        ('真的\n换行\t制表  空格"', "真的 换行 制表 空格", True),
        ('  前后的空白  "', "前后的空白", True),
        (r'\u91d1\u4ef7"', "金价", True),
        (r'\ud83d\ude00笑"', "😀笑", True),
        (r'\ud83d半个"', "半个", True),
        (r'\ude00半个"', "半个", True),
        (r'坏的\d转义\u12"', "坏的d转义u12", True),
        ("停在转义\\", "停在转义", False),
        (r"停在码\u91", "停在码", False),
        ('控\x00制\x1b符\u2028行"', "控 制 符 行", True),
        ('裸\ud800代理"', "裸代理", True),
        ("", "", False),
        ('"', "", True),
    ],
)
def test_whatever_is_written_becomes_one_line_that_can_be_sent(written: str, value: str, closed: bool) -> None:
    assert read(written) == (value, closed)
    json.dumps(value).encode()
    value.encode("utf-8")


def test_pieces_may_be_cut_anywhere() -> None:
    rng = random.Random(3)
    alphabet = ['"', "\\", "u", "d83d", "de00", "n", " ", "\n", "金", "a", "\\u91d1", '\\"']
    for _ in range(500):
        text = "".join(rng.choices(alphabet, k=12))
        whole = read(text)
        assert read(text, [rng.randint(0, 3) for _ in range(8)]) == whole
        whole[0].encode("utf-8")
        assert not any(character in whole[0] for character in "\n\r\t")


def test_valid_json_is_read_as_json_reads_it() -> None:
    rng = random.Random(4)
    for _ in range(300):
        value = "".join(rng.choices(['"', "\\", "/", "金", "a", "😀", "，", "é"], k=10))
        assert read(json.dumps(value, ensure_ascii=rng.random() < 0.5)[1:]) == (value, True)
