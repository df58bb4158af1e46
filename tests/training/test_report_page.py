"""`report.html` and `defence.html`: whole whatever is missing, harmless whatever is written in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from fintunnel_training.comparison.report.defence import defence_html, questions
from fintunnel_training.comparison.report.page import report_html
from fintunnel_training.comparison.report.pictures import Pictures
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.result import ComparisonResult

from tests.training.comparison_parts import BASE, TUNED
from tests.training.comparison_results import difference, full
from tests.training.comparison_variants import HOSTILE, VARIANTS, variant

LANGUAGES: tuple[Language, ...] = ("zh", "en")
NO_PICTURES = Pictures({}, {}, {})
PNG = b"\x89PNG\r\n\x1a\n"
_VOID = {"meta", "img", "br", "link", "input"}


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; fails where elements are not nested."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def page(result: ComparisonResult, language: Language = "zh", pictures: Pictures = NO_PICTURES) -> Parsed:
    return Parsed(report_html(result, language, pictures))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_whole(name: str, language: Language) -> None:
    for html in (report_html(variant(name), language, NO_PICTURES), defence_html(variant(name), language)):
        parsed = Parsed(html)
        assert not re.search(r"\bNone\b|\bundefined\b|\bnan\b|Undefined", parsed.text)
        assert dict(parsed.attributes)["lang"] == {"zh": "zh-CN", "en": "en"}[language]
        targets = {value for key, value in parsed.attributes if key == "id"}
        links = {(value or "").removeprefix("#") for key, value in parsed.attributes if key == "href"}
        assert links <= targets


def test_hostile_texts_stay_texts() -> None:
    for language in LANGUAGES:
        for html in (
            report_html(variant("hostile"), language, NO_PICTURES),
            defence_html(variant("hostile"), language),
        ):
            parsed = Parsed(html)
            assert not {"script", "img", "iframe", "object", "form", "base"} & set(parsed.tags)
            assert parsed.tags.count("style") == 1
            assert not [key for key, _ in parsed.attributes if key.startswith("on")]
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", html)
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\x00", "\\x00").replace("\x1b", "\\x1b")
    assert page(variant("hostile")).text.count(shown) > 20


@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_is_loaded_from_anywhere(name: str) -> None:
    pictures = Pictures({"measures": PNG, "differences": PNG, "loss_curve_x": PNG}, {}, {TUNED: "loss_curve_x"})
    for html in (report_html(variant(name), "zh", pictures), defence_html(variant(name), "zh")):
        parsed = Parsed(html)
        for key, value in parsed.attributes:
            if key in ("src", "href", "action", "srcset", "data"):
                assert value is not None and value.startswith(("#", "data:image/png;base64,"))
        assert "url(" not in html and "@import" not in html and "link" not in parsed.tags
        assert ("http-equiv", "Content-Security-Policy") in parsed.attributes


def test_the_sections_stand_in_their_order() -> None:
    ids = [value for key, value in page(full()).attributes if key == "id"]
    assert ids == (
        "summary glance training systems measures differences pictures examples people data reproduce notes".split()
    )


def test_figures_of_the_table_stand_on_the_page() -> None:
    text = re.sub(r"\s+", " ", page(full()).text)
    for figure in ("0.398 [0.346, 0.450]", "0.652 [0.600, 0.704]", "1,533 [1,473, 1,593]", "+0.139 [+0.079, +0.199]"):
        assert figure in text
    assert "云端 API 不给概率" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_gain_is_said_on_the_page_where_it_was_not_measured_and_only_there(language: Language) -> None:
    words = {"zh": "没有测到提升", "en": "no measured gain"}[language]
    for triple, expected in (((0.02, -0.03, 0.07), True), ((0.06, 0.01, 0.11), False), ((-0.06, -0.11, -0.01), False)):
        found = difference("impact", "auc", "best_baseline", triple)
        result = full().model_copy(update={"differences": [found]})
        assert (words in page(result, language).text) == expected
        assert (words in Parsed(defence_html(result, language)).text) == expected


def test_training_shows_what_is_shown_to_an_examiner() -> None:
    text = page(full()).text
    for fact in ("19,988,480（0.29%）", "8 / 16 / 0.05", "0.0002", "1:15:12", "2.413 → 0.732", "9.87 GiB", "40.0 MB"):
        assert fact in text
    assert "0.214 → 0.047" in text and "没有损失曲线" in text
    bare = page(variant("no_evidence")).text
    assert "没有 training_info.json" in bare and "没有做概率校准" in bare and "数据卡的这一部分读不出来" in bare


def test_answers_stand_side_by_side_with_what_followed() -> None:
    parsed = page(full())
    text = parsed.text
    assert "真实结果影响程度：高短线方向：利空" in text and "✗ 错" in text and "✓ 对" in text
    assert "没有回答：超时：60 秒内没有回答" in text and "引用：[0]" in text
    assert "实际 4.5%" in text and "此前 120 分钟 -0.31%" in text and "2025-10-17 20:30" in text  # Beijing
    assert parsed.tags.count("ins") > 2 and parsed.tags.count("del") > 2
    assert ("style", "width:45.0%") in parsed.attributes
    assert text.index("随机抽出的") < text.index("微调后答得最差的")


def test_answers_without_a_known_outcome_are_not_judged() -> None:
    text = page(variant("cases_only")).text
    assert "真实结果不知道" in text and "✓ 对" not in text and "✗ 错" not in text


def test_a_sensible_reader_can_tell_people_from_measures() -> None:
    text = page(full()).text
    assert "0.66 [0.54, 0.77]" in text and "0.41 [0.12, 0.68]" in text and "Landis" in text and "王老师" in text
    assert "人工评判" not in page(variant("no_people")).text


# --- the sheet for the defence ----------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", VARIANTS)
def test_all_questions_have_an_answer(name: str, language: Language) -> None:
    asked = questions(variant(name), Say(language))
    assert len(asked) == 9 and all(question and len(answer) > 8 for question, answer in asked)


def test_what_was_not_measured_is_said_to_be_that() -> None:
    answers = dict(questions(variant("cases_only"), Say("zh")))
    assert "不能说有提升" in answers["提升可信吗？"]
    assert "不能说比基线好" in answers["比基线好在哪里？哪里没有提升？"]
    assert "这次没有测量" in answers["模型会不会乱编？"]
    assert "不能说没有泄漏" in answers["效果怎么评判？怎么防止泄漏？"]
    assert "没有测量" in answers["为什么演示用 API 调用？"] or "毫秒" in answers["为什么演示用 API 调用？"]
    none = dict(questions(variant("no_evidence"), Say("zh")))
    assert "没有记录" in none["训练用了多少资源？"] and "没有记录" in none["为什么用 4-bit？"]


def test_the_answers_hold_the_runs_figures() -> None:
    answers = dict(questions(full(), Say("zh")))
    assert "数字正确率 22% → 89%" in answers["为什么要微调，而不是只写提示词？"]
    assert "13.9 GB" in answers["为什么用 4-bit？"] and "9.87 GiB" in answers["为什么用 4-bit？"]
    assert "没有测到提升" in answers["比基线好在哪里？哪里没有提升？"]
    assert "空出 135 分钟" in answers["效果怎么评判？怎么防止泄漏？"]
    assert "225 步" in answers["训练用了多少资源？"]
    assert BASE not in answers["有哪些局限？"]


def test_a_base_in_16_bits_is_not_called_4_bit() -> None:
    result = full()
    info = {**(result.training[0].info or {}), "quantization": "none"}
    training = [result.training[0].model_copy(update={"info": info})]
    answers = dict(questions(result.model_copy(update={"training": training}), Say("zh")))
    assert answers["为什么用 4-bit？"].startswith("这次训练没有用 4-bit")
