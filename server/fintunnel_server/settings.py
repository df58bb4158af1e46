"""The server's settings: environment variables and command-line flags, built when an app is made."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ServerSettings"]


class ServerSettings(BaseSettings):
    """`api_key`: every route but `/health` and `/ready` asks for it where it is set. An empty variable counts
    as none."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, env_ignore_empty=True)

    api_key: SecretStr | None = Field(None, validation_alias="FINTUNNEL_API_KEY")
    max_prompt_tokens: int = Field(2048, ge=256, validation_alias="FINTUNNEL_MAX_PROMPT_TOKENS")
    max_body_bytes: int = Field(262_144, ge=1024, validation_alias="FINTUNNEL_MAX_BODY_BYTES")
    ngrok_authtoken: SecretStr | None = Field(None, validation_alias="NGROK_AUTHTOKEN")
    ngrok_domain: str | None = Field(None, validation_alias="NGROK_DOMAIN")
