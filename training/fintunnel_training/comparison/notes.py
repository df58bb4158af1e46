"""What a reader of the report must know before believing it, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fintunnel.wire import NewsRequest, ReportRequest

from fintunnel_training.comparison.asking import Plan
from fintunnel_training.comparison.cases import Case
from fintunnel_training.comparison.outcomes import Outcome
from fintunnel_training.comparison.result import FieldName, Said

__all__ = [
    "NO_TRAINING_FILE",
    "about_cases",
    "about_systems",
    "joined",
    "repeated",
    "sampled",
    "too_little_training",
]

_HARDLY_A_TEXT = 12  # characters
_FIELDS: dict[FieldName, Said] = {"impact": ("影响程度", "impact"), "direction": ("短线方向", "direction")}
NO_TRAINING_FILE: Said = (
    "没有训练集，所以没有基线。请用 --train X.jsonl 指明，或把测试集放在它旁边。",
    "No training file, so no baselines: name it with --train X.jsonl, or put the test split beside it.",
)


def repeated(rows: int) -> Said:
    return (
        f"{rows} 行与前面的行问的完全相同，只算一次。",
        f"{rows} rows ask exactly what an earlier one asks, and count once.",
    )


def sampled(rows: int, of: int) -> Said:
    return (
        f"{of} 条新闻里按时间均匀取 {rows} 条（--rows）。",
        f"{rows} of {of} pieces of news, spread over time (--rows).",
    )


def joined(name: str, answers: int) -> Said:
    return f"合并了 {name}：{answers} 个新回答。", f"Joined {name}: {answers} new answers."


def too_little_training(file: str, field: FieldName) -> Said:
    chinese, english = _FIELDS[field]
    return (
        f"训练集 {file} 里带标签的新闻太少或只有一类，没有{chinese}的基线。",
        f"{file} has too few labelled rows, or one class only: no baselines of {english}.",
    )


def about_systems(outcomes: Sequence[Outcome], stopped: Mapping[str, str]) -> Iterator[Said]:
    """`stopped`: by system, why it was not asked to the end."""
    for name, reason in stopped.items():
        yield f"{name} 没有问完：{reason}", f"{name} was not asked to the end: {reason}"
    for outcome in outcomes:
        came = len(outcome.answers)
        if outcome.name not in stopped and outcome.failed + came < outcome.asked:
            yield (
                f"{outcome.name} 只有 {outcome.asked} 个问题中 {came} 个的回答：其余的在这次的 --data、--rows、"
                "--texts、--seed 下还没有问过（合并的回答要用相同的选项得到）。",
                f"{outcome.name} has answers to {came} of {outcome.asked} questions: the others were "
                "never asked with these --data, --rows, --texts and --seed (answers that are joined need the same).",
            )
    for outcome in outcomes:
        lengths = outcome.values.get("characters", {}).values()
        if lengths and sum(lengths) / len(lengths) < _HARDLY_A_TEXT:
            mean = f"{sum(lengths) / len(lengths):.0f}"
            yield (
                f"{outcome.name} 几乎没有写出文字（平均 {mean} 个字），"
                "所以它的重复率、用时和 token 数不能与写了文字的相比。",
                f"{outcome.name} wrote hardly any text ({mean} characters on average): its repetition, time and tokens "
                "cannot be compared with those of a system that wrote some.",
            )
        if outcome.without_probabilities:
            yield (
                f"{outcome.name} 有 {outcome.without_probabilities} 个回答没有给出概率，所以没有 AUC、Brier 和 ECE。",
                f"{outcome.without_probabilities} answers of {outcome.name} have no probabilities: so it has no AUC, "
                "Brier score and ECE.",
            )
    if len({outcome.calibrated for outcome in outcomes if outcome.predictions}) > 1:
        yield (
            "有的系统的概率用验证集校准过，有的没有（基座没有校准文件）："
            "它们在 Brier、ECE、准确率上的差别有一部分来自校准，不全来自微调。",
            "Some systems' probabilities were calibrated on the validation split, others' were not (a base has no "
            "calibration file): part of their difference in Brier score, ECE and accuracy is calibration, not tuning.",
        )


def about_cases(cases: Sequence[Case], wanted: Plan) -> Iterator[Said]:
    news = [case for case in cases if isinstance(case.request, NewsRequest)]
    if news and not any(case.impact or case.direction for case in news):
        yield (
            "这些新闻没有标签，所以没有影响程度和短线方向的指标，只有文本质量、速度和并排的回答。",
            "This news has no labels, so nothing is said of impact and direction: only form, speed and the answers.",
        )
    elif any(case.at is None for case in news):
        yield (
            "有的新闻没有发布时间：它们各算一天，同一天行情的关联没有算进区间里，区间可能偏窄。",
            "Some news has no time: each piece counts as a day of its own, so intervals may be too narrow.",
        )
    for name, (chinese, english) in _FIELDS.items():
        seen = {getattr(case, name) for case in news} - {None}
        if len(seen) == 1:
            [label] = seen
            yield (
                f"{chinese}只出现了一个类别（{label}），分不出好坏。",
                f"Only one class of {english} is there ({label}): good and bad cannot be told apart.",
            )
    if any(case.answer for case in cases) and not any(isinstance(case.request, ReportRequest) for case in wanted.text):
        yield "没有问财报题（--texts 0）。", "No report questions were asked (--texts 0)."
