"""The server's settings: environment variables and command-line flags, built when an app is made."""

from __future__ import annotations

from fintunnel.api_key import ApiKey
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fintunnel_server.errors import SettingsError

__all__ = ["ServerSettings", "load_settings"]


class ServerSettings(BaseSettings):
    """`api_key`: every route but `/health` and `/ready` asks for it where it is set. An empty variable counts
    as none."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, env_ignore_empty=True)

    api_key: ApiKey | None = Field(None, validation_alias="FINTUNNEL_API_KEY")
    max_prompt_tokens: int = Field(2048, ge=256, validation_alias="FINTUNNEL_MAX_PROMPT_TOKENS")
    max_body_bytes: int = Field(262_144, ge=1024, validation_alias="FINTUNNEL_MAX_BODY_BYTES")
    ngrok_authtoken: SecretStr | None = Field(None, validation_alias="NGROK_AUTHTOKEN")
    ngrok_domain: str | None = Field(None, validation_alias="NGROK_DOMAIN")


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
