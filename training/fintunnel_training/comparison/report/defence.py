"""`defence.html`: one A4 page of what is likely to be asked in a thesis defence, answered from this run's figures."""

from __future__ import annotations

from collections.abc import Callable

from fintunnel_training.comparison.report.defence_facts import Facts
from fintunnel_training.comparison.report.defence_verdicts import baselines, believable, honest
from fintunnel_training.comparison.report.page import rendered
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.untrusted import shortened
from fintunnel_training.comparison.result import ComparisonResult

__all__ = ["LONGEST", "defence_html", "questions"]

LONGEST: dict[Language, int] = {"zh": 310, "en": 590}
"""Characters of an answer; nine of them fill the page in small type."""
_DENSE: dict[Language, int] = {"zh": 1900, "en": 3300}  # characters above which the type is small


def defence_html(result: ComparisonResult, language: Language) -> str:
    say = Say(language)
    asked = questions(result, say)
    dense = sum(len(answer) for _, answer in asked) > _DENSE[language]
    return rendered("defence.html.j2", say, result=result, questions=asked, dense=dense)


def questions(result: ComparisonResult, say: Say) -> list[tuple[str, str]]:
    """Questions with their answers. What was not measured is said to be that."""
    facts = Facts(result, say)
    asked: tuple[tuple[str, str, Callable[[Facts], str]], ...] = (
        ("为什么要微调，而不是只写提示词？", "Why tune, and not just write a prompt?", _why_tune),
        ("为什么用 4-bit？", "Why 4 bits?", _why_four_bits),
        ("为什么演示用 API 调用？", "Why is the demonstration an API call?", _why_api),
        ("效果怎么评判？怎么防止泄漏？", "How was it judged, and leakage prevented?", _how_judged),
        ("提升可信吗？", "Can the gain be believed?", believable),
        ("比基线好在哪里？哪里没有提升？", "Where does it beat the baselines, and where not?", baselines),
        ("模型会不会乱编？", "Does the model make things up?", honest),
        ("训练用了多少资源？", "What did training take?", _resources),
        ("有哪些局限？", "What are the limits?", _limits),
    )
    answers = [answer(facts) for _, _, answer in asked]
    # One may be long where the others leave it the room.
    room = sum(len(answer) for answer in answers) <= LONGEST[say.language] * len(answers)
    most = LONGEST[say.language] * (2 if room else 1)
    return [(say(zh, en), shortened(answer, most)) for (zh, en, _), answer in zip(asked, answers, strict=True)]


def _why_tune(facts: Facts) -> str:
    say = facts.say
    said = [
        say(
            "只写提示词，模型不知道这份数据的标签分界和写法；微调让开源模型学会它们，并给出可以校准的概率。",
            "A prompt alone does not tell where this data's classes divide; tuning teaches an open model that and the "
            "wording of the training set, with probabilities that can be calibrated.",
        )
    ]
    abilities = facts.before_and_after()
    if abilities:
        said.append(
            say("同样的提示词，微调前 → 微调后：", "The same prompt, before → after: ")
            + say("；", "; ").join(abilities)
            + say("。", ".")
        )
    else:
        said.append(
            say(
                "同一提示词下微调前后的差别，这次没有测量。",
                "What tuning changed under the same prompt was not measured in this run.",
            )
        )
    hosted = facts.findings.of_kind("hosted")
    if hosted:
        shown = [text for system in hosted[:1] for text in facts.shown_of(system.name)]
        if shown:
            name = facts.short(hosted[0].name)
            said.append(
                say(f"只写提示词的云端模型 {name}：", f"The hosted model {name}, prompted only: ")
                + say("；", "; ").join(shown)
                + say("。", ".")
            )
    else:
        said.append(say("没有和只写提示词的云端模型比较。", "No hosted model with a prompt alone was compared."))
    return say("", " ").join(said)


def _why_four_bits(facts: Facts) -> str:
    say = facts.say
    quantization, total, memory = (
        facts.text("quantization"),
        facts.number("total_parameters"),
        facts.number("peak_memory_gib"),
    )
    if not quantization:
        return say(
            "训练的量化方式没有记录（没有 training_info.json）。",
            "How the base was quantized is not on record (no training_info.json).",
        )
    if quantization.lower() in ("none", "16-bit", "bf16", "fp16"):
        return say(
            f"这次训练没有用 4-bit（quantization：{quantization}）。",
            f"This run did not use 4 bits (quantization: {quantization}).",
        )
    said = [
        say(
            "4-bit 让 7B 一类的基座能在 16 GB 的免费显卡上训练：权重占的显存约为 16 位的四分之一。",
            "4 bits let a base of the 7B class be trained on a free GPU of 16 GB: weights take about a quarter of the "
            "memory that 16 bits need.",
        )
    ]
    if total is not None:
        said.append(
            say(
                f"这个基座有 {total / 1e9:.2f}B 个参数，16 位光权重就要 {total * 2 / 1e9:.1f} GB，"
                f"4-bit（{quantization}）约 "
                f"{total / 2 / 1e9:.1f} GB。",
                f"This base has {total / 1e9:.2f}B parameters: {total * 2 / 1e9:.1f} GB of weights in 16 bits, about "
                f"{total / 2 / 1e9:.1f} GB in 4 ({quantization}).",
            )
        )
    if memory is not None:
        said.append(
            say(
                f"训练时内存（显存）峰值实测 {memory:.2f} GiB。", f"Measured peak memory in training: {memory:.2f} GiB."
            )
        )
    said.append(
        say(
            "4-bit 与 16 位之间的效果差别这次没有测量。",
            "What 4 bits cost in quality against 16 was not measured in this run.",
        )
    )
    return say("", " ").join(said)


def _why_api(facts: Facts) -> str:
    say = facts.say
    said = [
        say(
            "模型留在有显卡的机器上，智能体只按一个地址调用，用环境变量在自己的模型和云端 API 之间切换；"
            "接口相同，演示的就是实际的用法。",
            "The model stays where the GPU is; the agent calls one address, and an environment variable swaps "
            "between the "
            "tuned model and the hosted API. The interface is the same, so what is shown is how it is used.",
        )
    ]
    found = facts.estimate("speed", "milliseconds")
    if found:
        said.append(say(f"微调后的模型每次用时 {found} 毫秒。", f"The tuned model took {found} ms per request."))
    else:
        said.append(say("每次调用的用时这次没有测量。", "Time per request was not measured in this run."))
    said.append(
        say("在笔记本上本地运行的速度这次没有测量。", "Running it on the laptop itself was not measured in this run.")
    )
    return say("", " ").join(said)


def _how_judged(facts: Facts) -> str:
    say, data = facts.say, facts.result.data
    said = [
        say(
            f"测试：{data.news} 条新闻（{data.labelled} 条有真实结果，{data.days} 天）、{data.reports} "
            "道财报题；微调前、微调后和基线答同一批题，"
            "成对比较，按整天分块自助抽样（bootstrap）算 95% 区间。",
            f"Tested on {data.news} pieces of news ({data.labelled} with known outcome, {data.days} days) and "
            f"{data.reports} "
            "report questions; all systems got the same ones, compared in pairs, 95 % intervals from resampled days.",
        )
    ]
    gap = facts.card_number("embargo_min")
    if gap is None:
        said.append(
            say(
                "没有数据卡，划分方式没有记录，所以这里不能说没有泄漏。",
                "There is no dataset card: the split is not on record, so freedom from leakage cannot be claimed here.",
            )
        )
    else:
        said.append(
            say(
                f"防泄漏：按时间先后划分，之间空出 {gap:.0f} 分钟；相近的文字只在一边；输入只用发布前的行情；"
                "标签分界只取自训练时段。",
                f"Against leakage: split by time with a gap of {gap:.0f} minutes; near-duplicates on one side; "
                "inputs hold "
                "only prices from before publication; label edges come from the training period.",
            )
        )
    people = facts.result.people
    if people is None:
        said.append(say("人工评判这次没有做。", "No people judged in this run."))
    else:
        said.append(
            say(
                f"另有 {len(people.raters)} 人盲评 {people.pairs} 对。",
                f"{len(people.raters)} people judged {people.pairs} blind pairs.",
            )
        )
    return say("", " ").join(said)


def _resources(facts: Facts) -> str:
    lines = facts.training_lines()
    if not lines:
        return facts.say("没有记录（没有 training_info.json）。", "Not on record (no training_info.json).")
    return facts.say("；", "; ").join(lines) + facts.say("。", ".")


def _limits(facts: Facts) -> str:
    say, data = facts.say, facts.result.data
    said = [
        say(
            f"只测了 {data.days} 天的新闻，换一段行情结果可能不同。",
            f"Only {data.days} days of news were tested; another market may differ.",
        )
    ]
    direction = facts.estimate("direction", "macro_f1")
    if direction:
        said.append(
            say(
                f"短线方向 macro-F1 {direction}（三类随机猜约 0.333），不能据此交易。",
                f"Direction macro-F1 {direction} (guessing: about 0.333); not to be traded on.",
            )
        )
    else:
        said.append(say("短线方向这次没有测量。", "Direction was not measured in this run."))
    said += facts.calibration_lines()
    failed = [facts.short(s.name) for s in facts.result.systems if s.failed or s.failure]
    if failed:
        said.append(say(f"有失败的：{say.listed(failed)}。", f"With failures: {say.listed(failed)}."))
    said.append(
        say(
            "标签说的是消息之后的走势，不证明是这条消息造成的。",
            "Labels tell what prices did after the news, not that the news caused it.",
        )
    )
    if facts.result.card is not None:
        said.append(
            say(
                "理由是从规则或教师模型写的文本学来的，不是人工标注。",
                "The rationales were learned from texts written by rules or a teacher model, not by people.",
            )
        )
    return say("", " ").join(said)
