"""A teacher's address and key: whole, checked, and the key never from the command line."""

from __future__ import annotations

import os
import re

import httpx
from fintunnel.api_key import clean_key
from fintunnel.errors import ConfigurationError

from fintunnel_training.errors import OptionError

__all__ = ["chat_url", "is_deepseek", "is_loopback", "teacher_key"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEFAULT_VARIABLE = "TEACHER_API_KEY"


def chat_url(address: str) -> str:
    """The whole address for a host, a base (`…/v1`) or a whole address.

    Raises:
        OptionError: no http(s) address, or one that holds a name, a password or a query.
    """
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, UnicodeError, TypeError):
        raise OptionError("--teacher-url 不是有效的地址") from None
    if url.userinfo or url.query or url.fragment:
        raise OptionError("--teacher-url 里不能带密码、? 参数或 #；密钥请放在环境变量里")
    if url.scheme not in ("http", "https") or not url.host:
        raise OptionError("--teacher-url 应以 http:// 或 https:// 开头，例如 https://api.deepseek.com")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise OptionError(f"--teacher-url 的端口应是 1 到 65535，不是 {url.port}")
    path = url.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = f"{path or '/v1'}/chat/completions"
    return str(url.copy_with(path=path))


def is_deepseek(url: str) -> bool:
    host = httpx.URL(url).host
    return host == "deepseek.com" or host.endswith(".deepseek.com")


def is_loopback(url: str) -> bool:
    return httpx.URL(url).host in _LOOPBACK


def teacher_key(url: str, variable: str | None) -> str | None:
    """The key from the environment variable `variable`, else from TEACHER_API_KEY, else, for DeepSeek's own host
    over https, from DEEPSEEK_API_KEY. None for a server on this machine where no key is set.

    Raises:
        ConfigurationError: no key, or one that cannot be sent. Neither it nor `variable` is shown: somebody may
            have put the key itself there.
    """
    if variable is not None and not _VARIABLE.fullmatch(variable):
        raise ConfigurationError("--teacher-key-env 应是环境变量的名字，不是密钥本身")
    names = [variable or _DEFAULT_VARIABLE]
    if variable is None and is_deepseek(url) and url.startswith("https://"):
        names.append("DEEPSEEK_API_KEY")
    key = next((os.environ[name] for name in names if os.environ.get(name, "").strip()), None)
    if key is None:
        if variable is not None:
            raise ConfigurationError("--teacher-key-env 指的环境变量没有设置")
        if is_loopback(url):
            return None
        raise ConfigurationError(f"没有教师的密钥。请设置环境变量 {' 或 '.join(names)}（服务不要密钥时填任意值）")
    try:
        return clean_key(key)
    except ValueError as error:
        raise ConfigurationError(f"教师的密钥不能用：{error}") from None
