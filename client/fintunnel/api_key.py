"""What an API key may look like. A key that cannot stand in a header is refused without being shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, SecretStr

__all__ = ["ApiKey", "clean_key"]


def clean_key(key: str) -> str:
    """The key without the spaces and line ends that shells and copying add.

    Raises:
        ValueError: characters that a header cannot carry.
    """
    key = key.strip()
    if not key:
        raise ValueError("密钥是空白的")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("密钥只能由英文字母、数字和符号组成，中间不能有空格或中文")
    return key


def _clean_secret(secret: SecretStr) -> SecretStr:
    return SecretStr(clean_key(secret.get_secret_value()))


ApiKey = Annotated[SecretStr, AfterValidator(_clean_secret)]
