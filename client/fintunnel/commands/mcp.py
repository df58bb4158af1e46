"""`fintunnel mcp`: the analysis as a tool of agent hosts."""

from __future__ import annotations

from fintunnel.errors import ConfigurationError

__all__ = ["mcp"]


def mcp() -> None:
    """以 MCP 工具 analyze_news 接入 Claude Desktop、Cursor 等智能体；由它们启动，用标准输入输出通信。"""
    try:
        from fintunnel.mcp_server import serve  # only here: the other commands start without mcp
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError('fintunnel mcp 还需要 mcp。请运行：python -m pip install "fintunnel[mcp]"') from error
    serve()
