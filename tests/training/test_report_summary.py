"""The report in words: what is claimed is what the intervals carry."""

from __future__ import annotations

from typing import Literal

import pytest
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.summary import summary
from fintunnel_training.comparison.report.verdicts import judgement, verdict_word
from fintunnel_training.comparison.result import (
    ComparisonResult,
    Difference,
    Estimate,
    Group,
    Measure,
    MeasureName,
    Reliability,
)

from tests.training.comparison_parts import BASE, TUNED
from tests.training.comparison_results import BASELINES, difference, full
from tests.training.comparison_variants import variant

NO_GAIN: dict[Language, str] = {"zh": "没有测到提升", "en": "no measured gain"}
BETTER: dict[Language, str] = {"zh": "测得更好", "en": "measurably better"}
WORSE: dict[Language, str] = {"zh": "测得更差", "en": "measurably worse"}
LANGUAGES: tuple[Language, ...] = ("zh", "en")


def only(result: ComparisonResult, *found: Difference) -> ComparisonResult:
    return result.model_copy(update={"differences": list(found), "reliability": [], "people": None})


def said(result: ComparisonResult, language: Language) -> str:
    return "\n".join(summary(result, language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("group", "name", "triple", "words"),
    [
        ("impact", "auc", (0.06, 0.01, 0.11), BETTER),
        ("impact", "auc", (-0.06, -0.11, -0.01), WORSE),
        ("impact", "auc", (0.02, -0.03, 0.07), NO_GAIN),
        ("impact", "auc", (-0.02, -0.07, 0.03), NO_GAIN),
        ("direction", "macro_f1", (0.0, -0.05, 0.05), NO_GAIN),
        ("impact", "brier", (-0.06, -0.11, -0.01), BETTER),  # lower is better
        ("impact", "brier", (0.06, 0.01, 0.11), WORSE),
        ("impact", "ece", (-0.01, -0.03, 0.01), NO_GAIN),
        ("speed", "milliseconds", (-300.0, -420.0, -180.0), BETTER),
    ],
)
def test_what_is_said_of_the_best_baseline_is_what_the_interval_carries(
    language: Language,
    group: Group,
    name: MeasureName,
    triple: tuple[float, float, float],
    words: dict[Language, str],
) -> None:
    text = said(only(full(), difference(group, name, "best_baseline", triple, BASELINES[1])), language)
    for each in (BETTER, WORSE, NO_GAIN):
        assert (each[language] in text) == (each is words), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_interval_with_zero_against_the_base_is_no_claim_either(language: Language) -> None:
    text = said(only(full(), difference("impact", "auc", "base", (0.02, -0.03, 0.07))), language)
    assert {"zh": "分不出高下（区间含 0）", "en": "cannot be told apart (the interval contains zero)"}[language] in text
    assert not any(words[language] in text for words in (BETTER, WORSE, NO_GAIN))


def test_numbers_and_intervals_stand_beside_the_claim() -> None:
    text = said(only(full(), difference("impact", "auc", "base", (0.1391, 0.079, 0.1994))), "zh")
    assert "影响程度 AUC：0.652 [0.600, 0.704]；比微调前 +0.139 [+0.079, +0.199]，测得更好。" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_an_interval_nothing_is_concluded(language: Language) -> None:
    text = said(variant("few_rows"), language)
    few = {"zh": "只有 12 行，少于 30 行，不给区间", "en": "only 12 rows, fewer than 30: no interval"}
    assert few[language] in text
    assert {"zh": "给不出区间，不能下结论", "en": "no interval, so no conclusion"}[language] in text
    assert not any(words[language] in text for words in (BETTER, WORSE, NO_GAIN))


def test_a_seed_whose_interval_holds_zero_is_told() -> None:
    found = difference("impact", "auc", "best_baseline", (0.05, 0.001, 0.1)).model_copy(update={"verdict": "none"})
    assert judgement(found, Say("zh")) == "没有测到提升（换一个重抽样种子，区间就含 0）"


@pytest.mark.parametrize("verdict", ["better", "worse", "none"])
def test_a_length_is_neither_better_nor_worse(verdict: Literal["better", "worse", "none"]) -> None:
    found = difference("form", "characters", "base", (-50.0, -60.0, -40.0)).model_copy(update={"verdict": verdict})
    assert verdict_word(found, Say("en")) == "neither is better"
    assert not any(words["en"] in said(only(full(), found), "en") for words in (BETTER, WORSE, NO_GAIN))


def test_every_difference_is_named() -> None:
    result = full()
    text = said(result, "zh")
    say = Say("zh")
    for found in result.differences:
        if found.name not in ("characters", "completion_tokens"):
            assert say.measured(found.group, found.name) in text


def test_what_the_base_could_do_and_the_tuned_can() -> None:
    assert "财报问答数字正确率 22% → 89%" in said(full(), "zh")
    assert "Valid form, unconstrained 12% → 97%" in said(full(), "en")


@pytest.mark.parametrize(
    ("ece", "chance", "zh"),
    [
        (0.043, (0.031, 0.052), "看不出校准有问题"),
        (0.058, (0.031, 0.052), "概率还没有校准好"),
        (0.3, None, "没有算出只凭偶然会有多大"),
    ],
)
def test_calibration_is_judged_beside_what_chance_gives(
    ece: float, chance: tuple[float, float] | None, zh: str
) -> None:
    one = Reliability(
        field="impact", system=TUNED, confidence=[0.5], accuracy=[0.5], share=[1.0], ece=ece, chance=chance
    )
    other = one.model_copy(update={"system": BASE, "ece": 0.99})
    text = said(full().model_copy(update={"reliability": [one, other]}), "zh")
    assert zh in text and f"{ece:.3f}" in text and "0.990" not in text


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ((0.66, 0.54, 0.77), "他们更喜欢它"),
        ((0.3, 0.2, 0.44), "他们更不喜欢它"),
        ((0.55, 0.41, 0.68), "分不出高下"),
        ((0.55, None, None), "给不出区间，不能下结论"),
    ],
)
def test_people_prefer_it_only_where_their_interval_leaves_a_half(
    rate: tuple[float, float | None, float | None], words: str
) -> None:
    people = full().people
    assert people is not None
    value, low, high = rate
    people = people.model_copy(update={"win_rate": Estimate(value=value, low=low, high=high)})
    bare = full().model_copy(update={"differences": [], "people": people})
    lines = [line for line in summary(bare, "zh") if "人工盲评" in line]
    assert len(lines) == 1 and words in lines[0]


def test_failures_are_told_with_their_reason() -> None:
    text = said(variant("failed_system"), "zh")
    assert "坏掉的适配器 答了 0 个，失败 396 个（共问 396 个）：服务器没有这个适配器。" in text


@pytest.mark.parametrize("name", ["no_labels", "cases_only"])
def test_without_labels_nothing_is_claimed(name: str) -> None:
    for language in LANGUAGES:
        text = said(variant(name), language)
        assert {"zh": "没有测量", "en": "was not measured"}[language] in text
        assert not any(words[language] in text for words in (BETTER, WORSE, NO_GAIN))


def test_without_baselines_that_is_said() -> None:
    text = said(variant("no_baselines"), "zh")
    assert "没有和基线比较" in text and NO_GAIN["zh"] not in text


def test_two_tuned_models_are_told_apart() -> None:
    result = full()
    second = next(s for s in result.systems if s.name == TUNED).model_copy(update={"name": "second"})
    measures = [
        Measure(group=m.group, name=m.name, systems={**m.systems, "second": m.systems[TUNED]}) for m in result.measures
    ]
    extra = [d.model_copy(update={"first": "second"}) for d in result.differences]
    result = result.model_copy(
        update={
            "systems": [*result.systems, second],
            "measures": measures,
            "differences": [*result.differences, *extra],
        }
    )
    text = said(result, "zh")
    assert f"影响程度 AUC：{TUNED} 0.652" in text and "影响程度 AUC：second 0.652" in text


def test_a_gain_that_is_partly_calibration_says_so() -> None:
    result = full()
    base, tuned = result.systems[0], result.systems[1]
    for before, after, told in ((False, True, True), (True, True, False), (False, False, False)):
        systems = [
            base.model_copy(update={"calibrated": before}),
            tuned.model_copy(update={"calibrated": after}),
            *result.systems[2:],
        ]
        text = said(result.model_copy(update={"systems": systems}), "zh")
        assert ("有一部分来自校准" in text) == told
