"""The server's settings: environment variables and command-line flags, built when an app is made."""

from __future__ import annotations

from pathlib import Path

from fintunnel.api_key import ApiKey
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fintunnel_server.errors import SettingsError

__all__ = ["ServerSettings", "load_settings"]


class ServerSettings(BaseSettings):
    """An empty variable counts as none.

    `api_key`: every route but `/health` and `/ready` asks for it where it is set. `request_timeout`: seconds.
    `max_rows`: conversations in the model at once; `max_waiting`: those that wait beyond them. `kv_cache_mib`: memory
    for their keys and values; default: 1 GiB on a CPU, two fifths of what a GPU has left. `adapter_root`: where
    adapters may be added from while the server runs; none: there is no route for it. `max_adapters`: loaded at once.
    `connection_file`: where a tunnel's URL is written. `cloudflared_path`: the program, where it is not on PATH.
    """

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, env_ignore_empty=True)

    api_key: ApiKey | None = Field(None, validation_alias="FINTUNNEL_API_KEY")
    max_prompt_tokens: int = Field(2048, ge=256, validation_alias="FINTUNNEL_MAX_PROMPT_TOKENS")
    request_timeout: float = Field(120.0, gt=0, allow_inf_nan=False, validation_alias="FINTUNNEL_REQUEST_TIMEOUT")
    max_rows: int = Field(16, ge=1, le=1024, validation_alias="FINTUNNEL_MAX_BATCH")
    max_waiting: int = Field(64, ge=1, le=100_000, validation_alias="FINTUNNEL_MAX_QUEUE")
    kv_cache_mib: int | None = Field(None, ge=64, validation_alias="FINTUNNEL_KV_CACHE_MIB")
    max_adapters: int = Field(16, ge=1, le=1024, validation_alias="FINTUNNEL_MAX_ADAPTERS")
    adapter_root: Path | None = Field(None, validation_alias="FINTUNNEL_ADAPTER_ROOT")
    upstream_api_key: SecretStr | None = Field(None, validation_alias="FINTUNNEL_UPSTREAM_API_KEY")
    max_body_bytes: int = Field(262_144, ge=1024, validation_alias="FINTUNNEL_MAX_BODY_BYTES")
    ngrok_authtoken: SecretStr | None = Field(None, validation_alias="NGROK_AUTHTOKEN")
    ngrok_domain: str | None = Field(None, validation_alias="NGROK_DOMAIN")
    cloudflared_path: Path | None = Field(None, validation_alias="FINTUNNEL_CLOUDFLARED_PATH")
    connection_file: Path | None = Field(None, validation_alias="FINTUNNEL_CONNECTION_FILE")


def load_settings() -> ServerSettings:
    """Read the environment now.

    Raises:
        SettingsError: a variable has a value that is not allowed.
    """
    try:
        return ServerSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"环境变量 {first['loc'][0]} 无效：{first['msg'].removeprefix('Value error, ')}") from None
