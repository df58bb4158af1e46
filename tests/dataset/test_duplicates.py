from __future__ import annotations

import random

from fintunnel_training.dataset.duplicates import cluster_texts, normalised

LONG = "国际清算银行在季度评论中称，黄金与国债的相关性已降到本世纪以来的最低水平，央行仍是最大买家"


def test_reposts_join_the_first_text_and_others_do_not() -> None:
    texts = [
        LONG,
        "印度珠宝商会预计节日季金饰需求同比下降一成",
        f"更新：{LONG}。",
        LONG.replace("，", " , "),
        LONG.replace("最低", "最低的"),
        "印度卢比跌至纪录低位，进口商推迟采购黄金",
    ]
    assert cluster_texts(texts, 0.6) == [0, 1, 0, 0, 0, 5]


def test_similarity_is_exact_not_estimated() -> None:
    """A text with a share of its 3-grams changed lies on the right side of the threshold, whatever MinHash guesses."""
    rng = random.Random(3)
    letters = [chr(code) for code in range(0x4E00, 0x5200)]
    for _ in range(200):
        first = "".join(rng.sample(letters, 60))
        cut = rng.randrange(20, 58)
        second = first[:cut] + "".join(rng.sample(letters, 60 - cut))
        grams = [{text[i : i + 3] for i in range(58)} for text in (first, second)]
        similarity = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
        together = cluster_texts([first, second], 0.6)[1] == 0
        assert not together or similarity >= 0.6
        assert together or similarity < 0.85  # MinHash may miss what lies just above, never what is nearly the same


def test_what_resembles_any_text_of_a_cluster_joins_it() -> None:
    chain = [LONG[n * 4 : n * 4 + 32] for n in range(3)]
    assert cluster_texts(chain, 0.6) == [0, 0, 0] and cluster_texts([chain[0], chain[2]], 0.6) == [0, 1]


def test_signs_ranges_and_points_are_part_of_a_figure() -> None:
    assert len({normalised(text) for text in ("报0.2%", "报-0.2%", "报02%", "报10-15", "报1015")}) == 5
    assert normalised("报−0.2%") == normalised("报-0.2%")


def test_figures_make_another_text_where_they_are_most_of_it() -> None:
    assert normalised("涨 1.25%！") == normalised("涨1.25%") != normalised("涨12.5%")
    assert cluster_texts(["现货黄金报3400.1美元", "现货黄金报2871.9美元"], 0.6) == [0, 1]


def test_odd_texts_do_no_harm() -> None:
    assert cluster_texts([], 0.6) == []
    assert cluster_texts(["", "。。", "金", "金"], 0.6) == [0, 0, 2, 2]
