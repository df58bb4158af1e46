"""The server's settings: environment variables and command-line flags, built when an app is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from fintunnel.api_key import ApiKey
from fintunnel.broken_rules import rule_in_chinese
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fintunnel_server.errors import SettingsError
from fintunnel_server.running.logs import LogFormat
from fintunnel_server.security.rate_limit import parse_rate

__all__ = ["ServerSettings", "load_settings"]


class ServerSettings(BaseSettings):
    """An empty variable counts as none."""

    model_config = SettingsConfigDict(
        # `populate_by_name` makes a field's own name a variable too: with the prefix, a stray API_KEY is none of ours.
        extra="ignore", populate_by_name=True, env_ignore_empty=True, env_prefix="FINTUNNEL_",
    )  # fmt: skip

    api_key: ApiKey | None = Field(None, validation_alias="FINTUNNEL_API_KEY")
    """every route but `/health` and `/ready` asks for a key where any is set"""
    api_keys: Annotated[dict[str, ApiKey], NoDecode] = Field({}, validation_alias="FINTUNNEL_API_KEYS")
    """more of them, as `name:key,name:key`; the log and the rate limit go by the names"""
    rate_limit: str = Field("600/minute", validation_alias="FINTUNNEL_RATE_LIMIT")
    """requests of one key, each item of a batch being one; `off`: as many as it likes"""
    cors_origins: Annotated[list[str], NoDecode] = Field([], validation_alias="FINTUNNEL_CORS_ORIGINS")
    """pages of these origins may ask, separated by commas; default: the server's own alone"""
    max_body_bytes: int = Field(262_144, ge=1024, validation_alias="FINTUNNEL_MAX_BODY_BYTES")
    """of a request; a batch may have eight times as many"""
    max_connections: int = Field(512, ge=1, le=1_000_000, validation_alias="FINTUNNEL_MAX_CONNECTIONS")
    read_seconds: float = Field(30.0, gt=0, le=3600, validation_alias="FINTUNNEL_READ_SECONDS")
    """for a request to arrive whole"""
    request_timeout: float = Field(120.0, gt=0, allow_inf_nan=False, validation_alias="FINTUNNEL_REQUEST_TIMEOUT")
    """seconds from a request's arrival to the end of its answer"""
    page: bool = Field(True, validation_alias="FINTUNNEL_PAGE")
    """the web page at `/` and Swagger UI at `/docs`"""
    drain_seconds: float = Field(30.0, ge=0, le=3600, validation_alias="FINTUNNEL_DRAIN_SECONDS")
    """for what is under way when the server is told to stop"""
    log_format: LogFormat = Field("text", validation_alias="FINTUNNEL_LOG_FORMAT")

    max_prompt_tokens: int = Field(2048, ge=256, validation_alias="FINTUNNEL_MAX_PROMPT_TOKENS")
    max_rows: int = Field(16, ge=1, le=1024, validation_alias="FINTUNNEL_MAX_BATCH")
    """conversations in the model at once"""
    max_waiting: int = Field(64, ge=1, le=100_000, validation_alias="FINTUNNEL_MAX_QUEUE")
    """conversations that wait beyond them"""
    kv_cache_mib: int | None = Field(None, ge=64, validation_alias="FINTUNNEL_KV_CACHE_MIB")
    """memory for keys and values; default: 1 GiB on a CPU, two fifths of what a GPU has left"""
    max_adapters: int = Field(16, ge=1, le=1024, validation_alias="FINTUNNEL_MAX_ADAPTERS")
    """loaded at once"""
    adapter_root: Path | None = Field(None, validation_alias="FINTUNNEL_ADAPTER_ROOT")
    """where adapters may be added from while the server runs; none: there is no route for it"""
    upstream_api_key: SecretStr | None = Field(None, validation_alias="FINTUNNEL_UPSTREAM_API_KEY")

    ngrok_authtoken: SecretStr | None = Field(None, validation_alias="NGROK_AUTHTOKEN")
    ngrok_domain: str | None = Field(None, validation_alias="NGROK_DOMAIN")
    cloudflared_path: Path | None = Field(None, validation_alias="FINTUNNEL_CLOUDFLARED_PATH")
    """the program, where it is not on PATH"""
    connection_file: Path | None = Field(None, validation_alias="FINTUNNEL_CONNECTION_FILE")
    """where a tunnel's URL is written"""

    @field_validator("api_keys", mode="before")
    @classmethod
    def _named_keys(cls, given: object) -> object:
        return named_keys(given) if isinstance(given, str) else given

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        origins = [origin.strip().rstrip("/") for origin in given.split(",") if origin.strip()]
        if not all(re.fullmatch(r"https?://[^/\s*]+", origin) for origin in origins):
            raise ValueError("应是网页的来源，像 https://example.com，多个用逗号分开")
        return origins

    @field_validator("rate_limit")
    @classmethod
    def _rate(cls, rate: str) -> str:
        parse_rate(rate)
        return rate

    @property
    def keys(self) -> dict[str, SecretStr]:
        """All keys by name; the one without a name is called `default`."""
        return {**self.api_keys, **({"default": self.api_key} if self.api_key is not None else {})}


def named_keys(text: str) -> dict[str, str]:
    """The keys in `name:key,name:key`.

    Raises:
        ValueError: it is written otherwise, or two have one name or one key. The message shows no key.
    """
    keys: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        name, colon, key = (part.strip() for part in pair.partition(":"))
        if not colon or not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
            raise ValueError(f"第 {number} 个不是 名字:密钥（名字用英文字母、数字、点、横线）")
        if name in keys or name == "default":
            raise ValueError(f"名字 {name} 重复了，或是保留的")
        if key in keys.values():
            raise ValueError(f"{name} 的密钥和别的一样")
        keys[name] = key
    return keys


def load_settings() -> ServerSettings:
    """Read the environment now.

    Raises:
        SettingsError: a variable has a value that is not allowed.
    """
    try:
        return ServerSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"环境变量 {first['loc'][0]} 无效：{rule_in_chinese(first)}") from None
