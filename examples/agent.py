"""一个最小的智能体：分析几条快讯，写一句总结，决定关注还是忽略。

    python agent.py

FINTUNNEL_BACKEND=deepseek 用 DeepSeek 官方 API，=finetuned 用自己的模型；代码不变。
"""

from __future__ import annotations

from fintunnel import DeepSeekClient, FinTunnelError, NewsAnalysis

HEADLINES = ["美联储宣布加息25个基点", "美国7月CPI年率2.7%，低于预期的2.8%", "某国央行表示将按计划公布下周的会议日程"]


def decide(analysis: NewsAnalysis) -> str:
    return "忽略" if analysis.impact == "low" else "关注"


def main() -> int:
    failed = 0
    with DeepSeekClient() as client:
        for headline in HEADLINES:
            print(headline)
            try:
                analysis = client.analyze(headline)
                summary = client.complete(f"用一句话总结这条消息对金价的影响：{headline}", max_tokens=80)
            except FinTunnelError as error:  # never taken for an answer
                print(f"  [错误] {error}")
                failed += 1
                continue
            print(f"  {decide(analysis)}：影响 {analysis.impact}，方向 {analysis.direction}")
            print(f"  理由：{analysis.rationale}")
            print(f"  总结：{summary}")
            print(f"  回答者：{analysis.model.backend}（{analysis.model.base}），总结 {summary.backend}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except FinTunnelError as error:  # a setting is missing: nothing was asked
        raise SystemExit(f"[错误] {error}") from None
