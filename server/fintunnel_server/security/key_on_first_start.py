"""The key of a public server for which none is set: made on a terminal, kept in a private file, refused elsewhere."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import typer
from fintunnel.api_key import clean_key
from fintunnel.terminal_text import system_reason
from platformdirs import user_config_path
from pydantic import SecretStr

from fintunnel_server.errors import SettingsError

__all__ = ["STORED_KEY_NAME", "key_for_public", "refuse_weak_keys"]

STORED_KEY_NAME = "stored"
_KEY_BYTES = 32
_SHORTEST = 8  # characters; at sixty tries a minute a random one of these holds out

_REFUSED = (
    "公开的服务必须有密钥：请先设置环境变量 FINTUNNEL_API_KEY（自己定一串长的随机字符）。"
    "\nPowerShell：$env:FINTUNNEL_API_KEY = [guid]::NewGuid().ToString()；"
    'bash：export FINTUNNEL_API_KEY="$(openssl rand -hex 24)"'
)


def key_for_public() -> SecretStr:
    """The key that an earlier start has stored; else, on a terminal, a new one, which is stored and shown once.

    Raises:
        SettingsError: there is none and no terminal to show one on (a container, a notebook), or the file cannot be
            read or written.
    """
    path = user_config_path("fintunnel", appauthor=False) / "api_key"
    stored = _read(path)
    if stored is not None:
        typer.echo(f"用上次保存的密钥：{path}", err=True)
        return stored
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SettingsError(_REFUSED)
    key = secrets.token_urlsafe(_KEY_BYTES)
    _write(path, key)
    typer.echo(f"没有设置密钥，已生成一个，只显示这一次：{key}\n保存在 {path}，下次直接用；要换就删掉它。", err=True)
    return SecretStr(key)


def refuse_weak_keys(keys: Mapping[str, SecretStr]) -> None:
    """
    Raises:
        SettingsError: a key is so short that it can be guessed.
    """
    for name, key in keys.items():
        if len(key.get_secret_value()) < _SHORTEST:
            known = f"密钥 {name}（FINTUNNEL_API_KEY 的叫 default）太短"
            raise SettingsError(f"{known}，公开的服务至少要 {_SHORTEST} 个字符，最好随机 32 个以上。")


def _read(path: Path) -> SecretStr | None:
    try:
        text = path.read_text(encoding="utf-8")
        path.chmod(0o600)  # whatever copying it here has made of it
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"读不出保存的密钥 {path}：{error}。删掉它，或设置 FINTUNNEL_API_KEY。") from error
    try:
        return SecretStr(clean_key(text))
    except ValueError as error:
        raise SettingsError(f"{path} 里不是密钥：{error}。删掉它，或设置 FINTUNNEL_API_KEY。") from error


def _write(path: Path, key: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never there with a mode that others can read by, not even for a moment.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(key + "\n")
    except OSError as error:
        raise SettingsError(f"密钥存不进 {path}：{system_reason(error)}。请设置环境变量 FINTUNNEL_API_KEY。") from error
