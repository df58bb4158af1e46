"""Which tokens are set. Their values are never shown, and none is needed for training."""

from __future__ import annotations

import os

from dotenv import dotenv_values

from fintunnel_training.doctor.findings import Finding

__all__ = ["tokens"]

_PURPOSES = {
    "HF_TOKEN": "下载需要登录的模型",
    "NGROK_AUTHTOKEN": "公开 Colab 上的服务",
    "DEEPSEEK_API_KEY": "调用 DeepSeek 官方 API",
    "FINTUNNEL_API_KEY": "自己服务的访问密钥",
}
_READ_FROM_FILE = ("DEEPSEEK_API_KEY", "FINTUNNEL_API_KEY")  # the client's settings read `.env`, nothing else does


def tokens() -> Finding:
    try:
        file = dotenv_values(".env")
    except UnicodeDecodeError:
        return Finding("warning", "读取 .env 失败：它不是 UTF-8 编码", "请用记事本把 .env 另存为 UTF-8。")
    here = [name for name in _PURPOSES if os.environ.get(name) or (name in _READ_FROM_FILE and file.get(name))]
    absent = [f"{name}（{purpose}）" for name, purpose in _PURPOSES.items() if name not in here]
    return Finding("ok", f"已设置：{'、'.join(here) or '无'}；未设置（用到再设）：{'、'.join(absent) or '无'}")
