"""旧的智能体：只改一行导入，其余不动。

    python old_agent.py

旧客户端出错时返回以 [错误] 开头的文字，不抛异常；兼容层照旧。
"""

from __future__ import annotations

# 之前：from app.adapters.llm.deepseek_client import DeepseekClient
from fintunnel.compat import DeepseekClient  # 只改这一行

HEADLINES = ["美联储宣布加息25个基点", "美国7月CPI年率2.7%，低于预期的2.8%"]


class NewsAgent:
    def __init__(self) -> None:
        self.client = DeepseekClient()

    def summary(self, news: str) -> str:
        return self.client.complete_with_system(
            "你是金融分析师。", f"用一句话总结：{news}", timeout_seconds=10.0, temperature=0.3, max_tokens=80
        )


def main() -> int:
    agent = NewsAgent()
    failed = 0
    for headline in HEADLINES:
        answer = agent.summary(headline)
        failed += answer.startswith("[错误]")
        print(f"{headline}\n  {answer}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
