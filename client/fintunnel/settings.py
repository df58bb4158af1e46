"""The client's settings: `FINTUNNEL_*` and `DEEPSEEK_*`, from the environment or `.env` in the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fintunnel.api_key import ApiKey
from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import ConfigurationError
from fintunnel.terminal_text import system_reason

__all__ = ["Backend", "ClientSettings", "load_settings"]

Backend = Literal["deepseek", "finetuned"]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ClientSettings(BaseSettings):
    """`timeout`, `connect_timeout` and `read_timeout` in seconds, as `transport.call.Timeouts` has them."""

    model_config = SettingsConfigDict(
        # `populate_by_name` makes a field's own name a variable too: with the prefix, a stray URL is none of ours.
        env_file=".env", env_file_encoding="utf-8-sig", env_ignore_empty=True, extra="ignore", populate_by_name=True,
        env_prefix="FINTUNNEL_",
    )  # fmt: skip

    backend: Backend = Field("deepseek", validation_alias="FINTUNNEL_BACKEND")
    url: str | None = Field(None, validation_alias="FINTUNNEL_URL")
    connection_file: Path | None = Field(None, validation_alias="FINTUNNEL_CONNECTION_FILE")
    ngrok_api_key: ApiKey | None = Field(None, validation_alias="NGROK_API_KEY")
    api_key: ApiKey | None = Field(None, validation_alias="FINTUNNEL_API_KEY")
    timeout: Seconds | None = Field(None, validation_alias="FINTUNNEL_TIMEOUT")
    connect_timeout: Seconds | None = Field(None, validation_alias="FINTUNNEL_CONNECT_TIMEOUT")
    read_timeout: Seconds | None = Field(None, validation_alias="FINTUNNEL_READ_TIMEOUT")
    max_retries: int = Field(2, ge=0, le=10, validation_alias="FINTUNNEL_MAX_RETRIES")
    fallback: Literal["deepseek"] | None = Field(None, validation_alias="FINTUNNEL_FALLBACK")
    deepseek_api_key: ApiKey | None = Field(None, validation_alias="DEEPSEEK_API_KEY")
    deepseek_url: str = Field(
        "https://api.deepseek.com",
        validation_alias=AliasChoices("DEEPSEEK_BASE_URL", "DEEPSEEK_API_BASE"),
    )
    deepseek_model: str = Field("deepseek-flash", validation_alias="DEEPSEEK_MODEL")


def load_settings() -> ClientSettings:
    """Read the environment now.

    Raises:
        ConfigurationError: a variable has a value that is not allowed, or `.env` cannot be read.
    """
    try:
        return ClientSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name == "FINTUNNEL_BACKEND":
            raise ConfigurationError(
                f"FINTUNNEL_BACKEND 的值 {first['input']!r} 无效，只能是 deepseek 或 finetuned"
            ) from None
        raise ConfigurationError(f"环境变量 {name} 无效：{rule_in_chinese(first)}") from None
    except UnicodeDecodeError:
        raise ConfigurationError("读取 .env 失败：它不是 UTF-8 编码", advice="请另存为 UTF-8。") from None
    except OSError as error:
        raise ConfigurationError(f"读取 .env 失败：{system_reason(error)}") from None
