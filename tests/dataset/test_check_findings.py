"""What `dataset check` finds in rows: the future, copies, contradictions, figures from nowhere, our own altered."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from fintunnel.cli import main

from tests.dataset.check_runs import Row, findings, foreign, run, write


@pytest.fixture(scope="module")
def ours(sample_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ours") / "x.jsonl"
    main_ok("dataset", "build", "--db", str(sample_database), "--out", str(out), "--num-samples", "300")
    return out


def main_ok(*arguments: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert not caught.value.code


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_our_own_rows_pass_with_their_splits(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, str(ours))
    assert status == 0, out
    assert "x.val.jsonl" in out and "x.test.jsonl" in out and "类别分布" in out and "没有检查 token 长度" in out
    assert err == ""


def test_clean_rows_of_another_tool_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *map(foreign, range(60))))
    assert (status, found) == (0, {})


def test_the_old_kind_of_row_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(1)
    rows = [
        foreign(n, output=f"该消息发布后15分钟内，XAUUSD{rng.choice(('上涨', '下跌'))}{rng.randint(1, 90) / 100:.2f}%")
        for n in range(40)
    ]
    status, found = findings(capsys, write(tmp_path / "old.jsonl", *rows))
    assert status == 1
    assert found["hindsight"]["count"] == found["ungrounded_figures"]["count"] == found["one_template"]["count"] == 40
    assert "发布后15分钟" in found["hindsight"]["examples"][0]["excerpt"]


def test_a_repeated_row_is_found_whatever_its_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = foreign(3, input=foreign(3)["input"].replace("，", " , "))
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *map(foreign, range(9)), again))
    assert status == 1 and set(found) == {"duplicate_rows"}
    [example] = found["duplicate_rows"]["examples"]
    assert example["line"] == 10 and "第 4 行" in example["excerpt"]


def test_a_sign_is_no_punctuation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up, down = (foreign(1, input=foreign(1)["input"] + f" 此前{sign}0.3%") for sign in "+-")
    assert findings(capsys, write(tmp_path / "a.jsonl", up, down)) == (0, {})


def test_one_question_with_two_classes_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (foreign(1, output="利好"), foreign(1, output="利空"))
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *rows))
    assert status == 0 and found["contrary_rows"]["severity"] == "警告"


def test_copies_across_splits_are_found_beside_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write(tmp_path / "a.jsonl", *map(foreign, range(12)))
    nearly = foreign(5)["input"].replace("代号", "代 号：") + "续"
    write(tmp_path / "a.val.jsonl", foreign(100), foreign(4))
    elsewhere = write(tmp_path / "elsewhere.jsonl", foreign(101), foreign(102, input=nearly))
    status, found = findings(capsys, train, "--test", str(elsewhere))
    assert status == 1 and set(found) == {"cross_split_duplicates", "cross_split_near_duplicates"}
    [exact], [near] = (found[code]["examples"] for code in sorted(found))
    assert (exact["file"], exact["line"]) == ("a.val.jsonl", 2) and "a.jsonl 第 5 行" in exact["excerpt"]
    assert (near["file"], near["line"]) == ("elsewhere.jsonl", 2)


@pytest.mark.parametrize(
    "context",
    [
        "波动 range_ratio=0.0012",
        '{"price_future": 3345.1}',
        "ret_15m: 0.002",
        "后15分钟涨跌：0.27%",
        "发布后30分钟波幅 0.4%",
        "未来15分钟收益率=0.001",
    ],
)
def test_the_reaction_in_an_input_is_lookahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], context: str
) -> None:
    row = foreign(2, input=f"{foreign(2)['input']}\n[市场上下文] 前120分钟涨跌 0.12% {context}")
    status, found = findings(capsys, write(tmp_path / "a.jsonl", foreign(1), row))
    assert status == 1 and found["lookahead_input"]["count"] == 1


def test_what_was_known_before_is_no_lookahead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = "[市场上下文] 前120分钟涨跌 0.12% pre_return=0.0012 ret_120=0.1，请预测后15分钟涨跌"
    row = foreign(2, input=f"{foreign(2)['input']}\n{context}")
    assert findings(capsys, write(tmp_path / "a.jsonl", foreign(1), row)) == (0, {})


def test_columns_of_the_reaction_beside_the_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        foreign(1, context={"pre_return": 0.1, "range_ratio": 0.2}),
        foreign(2, ret=0.3),
        foreign(3, labels={"ret": 0.3}),
    )
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *rows))
    assert status == 1 and set(found) == {"lookahead_context", "lookahead_column"}
    assert found["lookahead_context"]["severity"] == "错误" and found["lookahead_column"]["severity"] == "警告"
    assert found["lookahead_context"]["count"] == found["lookahead_column"]["count"] == 1


@pytest.mark.parametrize(("noise", "suspected"), [(0.3, True), (5.0, False)])
def test_a_figure_that_alone_tells_the_class_is_suspected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], noise: float, suspected: bool
) -> None:
    rng = random.Random(5)
    rows = []
    for n in range(120):
        high = n % 4 == 0
        swing = (2.0 if high else 0.5) + abs(rng.gauss(0, noise))
        text = f"{foreign(n)['input']}\n前期涨跌 {rng.gauss(0, 1):.2f}% 波动幅度 {rng.choice('+-')}{swing:.2f}%"
        rows.append(foreign(n, input=text, output=json.dumps({"impact": "high" if high else "low"})))
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *rows))
    assert ("lookahead_statistics" in found) is suspected and status == int(suspected)
    if suspected:
        assert "波动幅度" in found["lookahead_statistics"]["title"]


def test_a_two_class_file_lacks_no_third(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [foreign(n, output=f"影响{'高' if n % 2 else '低'}，{foreign(n)['output']}") for n in range(40)]
    rows = [row for row in rows if "中性" not in row["output"]]
    status, _, _ = run(capsys, str(write(tmp_path / "a.jsonl", *rows)))
    assert status == 0
    assert findings(capsys, tmp_path / "a.jsonl") == (0, {})


def test_figures_from_nowhere_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = foreign(1, output="利好，目标价3456美元")
    status, found = findings(capsys, write(tmp_path / "a.jsonl", row))
    assert status == 1 and "3456" in found["ungrounded_figures"]["examples"][0]["excerpt"]


def test_an_uneven_or_missing_class_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [foreign(n, output="利好" if n else "利空") for n in range(50)]
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *rows))
    assert status == 0 and found["class_balance"]["severity"] == "警告"
    _, out, _ = run(capsys, str(tmp_path / "a.jsonl"))
    assert "49（98%）" in out and "通过：没有错误" in out


def test_class_words_alone_are_no_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [foreign(n, output=("利好", "利空", "中性")[n % 3]) for n in range(60)]
    assert findings(capsys, write(tmp_path / "a.jsonl", *rows)) == (0, {})


def test_a_tampered_row_of_ours_is_found(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(ours)
    news = [row for row in rows if row["meta"]["kind"] == "news" and row["meta"]["style"] == "json"]
    news[0]["input"] = news[0]["input"].replace("</news>", "后15分钟波幅0.3%\n</news>")
    answer = json.loads(news[1]["output"])
    answer["impact"] = "high" if answer["impact"] != "high" else "low"
    news[1]["output"] = json.dumps(answer, ensure_ascii=False)
    news[2]["meta"]["split"] = "test"
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *rows))
    assert status == 1 and set(found) == {"altered_prompt", "altered_labels", "wrong_split"}
    assert all(finding["count"] == 1 for finding in found.values())
    assert "后15分钟" in found["altered_prompt"]["examples"][0]["excerpt"]


def test_splits_out_of_time_are_found(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = rows_of(ours.with_suffix(".test.jsonl"))
    for row in later:
        row["meta"]["split"] = "train"
    earlier = rows_of(ours.with_suffix(".val.jsonl"))
    write(tmp_path / "a.jsonl", *later)
    _, found = findings(capsys, write(tmp_path / "a.val.jsonl", *earlier))
    assert "splits_overlap" not in found
    status, found = findings(capsys, tmp_path / "a.jsonl")
    assert status == 1 and found["splits_overlap"]["count"] > 0


def test_rows_too_long_for_a_base_are_counted(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for row in rows_of(ours) if row["meta"]["style"] == "json" and row["meta"]["kind"] == "news"][:2]
    long = foreign(1, output="供需两旺，" * 200)
    path = write(tmp_path / "a.jsonl", *rows, foreign(2), long)
    status, found = findings(capsys, path, "--base", "embedded", "--max-length", "400")
    assert status == 1 and found["too_long"]["count"] >= 1
    assert found["too_long"]["examples"][-1]["line"] == 4
    _, out, _ = run(capsys, str(path), "--base", "embedded", "--max-length", "4000")
    assert "中位" in out and "放不进" not in out and "上限 4000" in out
