"""The notebook's secrets: Colab's, else the environment's. Their names are shown, never their values."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass, field

from fintunnel.colab import secret

__all__ = ["Keys", "read_keys"]

_MADE = "made-in-this-notebook-"
_PURPOSES = {
    "FINTUNNEL_API_KEY": "访问自己的服务",
    "NGROK_AUTHTOKEN": "公开到互联网",
    "NGROK_DOMAIN": "固定的公开地址",
    "HF_TOKEN": "下载需要登录的模型",
}


@dataclass(frozen=True)
class Keys:
    """`own_api_key`: the person set it, and so can use it elsewhere; otherwise it was made for this session."""

    api_key: str = field(repr=False)
    own_api_key: bool
    ngrok: dict[str, str] = field(repr=False)
    """variables for the server alone"""
    hub: dict[str, str] = field(repr=False)
    """variables for whatever downloads the base"""


def read_keys() -> Keys:
    # One that an earlier run of this cell made may stand in the environment, for curl: the person does not know it.
    found = {name: value for name in _PURPOSES if (value := secret(name)) and not value.startswith(_MADE)}
    absent = "、".join(f"{name}（{purpose}）" for name, purpose in _PURPOSES.items() if name not in found)
    sys.stdout.write(f"已有：{'、'.join(found) or '无'}；没有：{absent or '无'}\n")
    own = found.get("FINTUNNEL_API_KEY", "")
    if not own:
        sys.stdout.write("FINTUNNEL_API_KEY 已临时生成一个，只在内存里，只能在本笔记本里用。\n")
    return Keys(
        api_key=own or _MADE + secrets.token_urlsafe(24),
        own_api_key=bool(own),
        ngrok={name: found[name] for name in ("NGROK_AUTHTOKEN", "NGROK_DOMAIN") if name in found},
        hub={name: found[name] for name in ("HF_TOKEN",) if name in found},
    )
