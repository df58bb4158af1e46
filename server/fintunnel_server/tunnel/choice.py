"""`--tunnel`: the program that was asked for, with its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fintunnel_server.settings import ServerSettings
from fintunnel_server.tunnel.agent import Agent
from fintunnel_server.tunnel.cloudflared import CloudflaredAgent
from fintunnel_server.tunnel.ngrok import NgrokAgent

__all__ = ["agent_factory"]


def agent_factory(service: Literal["ngrok", "cloudflared"], port: int, settings: ServerSettings) -> Callable[[], Agent]:
    """What makes the agents of a tunnel to 127.0.0.1:`port`. One is made at once, to see that it can be.

    Raises:
        TunnelFailed: something that it needs is missing or wrong.
    """
    token = settings.ngrok_authtoken

    def new_agent() -> Agent:
        if service == "cloudflared":
            return CloudflaredAgent(port, program=settings.cloudflared_path)
        authtoken = token.get_secret_value() if token is not None else None
        return NgrokAgent(port, authtoken=authtoken, domain=settings.ngrok_domain)

    new_agent()
    return new_agent
