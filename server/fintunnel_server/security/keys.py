"""Who may ask: named API keys, a bound on how fast each of them may, and one on how fast strangers may try."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request
from fintunnel.wire import ErrorCode
from pydantic import SecretStr

from fintunnel_server.api_errors import ApiError
from fintunnel_server.running.logs import current_request
from fintunnel_server.security.rate_limit import RateLimit

__all__ = ["ApiKeys", "KeyCheck", "is_loopback", "key_name", "require_key"]

_STRANGERS = "60/minute"  # refusals before they are told to wait; nobody who has a key is


class ApiKeys:
    """The server's keys by name. Without any, whoever is on this machine may ask."""

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        self._keys = [(name, key.get_secret_value().encode()) for name, key in keys.items()]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def name_of(self, authorization: str) -> str | None:
        """The name of the key in an `Authorization` header; None for anything else."""
        scheme, _, given = authorization.partition(" ")
        found = None
        for name, key in self._keys:
            # Every key is compared, and compare_digest takes the same time wherever the first difference stands.
            if hmac.compare_digest(given.strip().encode(), key):
                found = name
        return found if scheme.lower() == "bearer" else None


class KeyCheck:
    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._strangers = RateLimit(_STRANGERS)

    async def name_of(self, request: Request) -> str | None:
        """The name of the key that a request comes with; None where no key is asked for.

        Raises:
            ApiError: 401, there is none, or a wrong one; 429, that happened too often.
        """
        if not self._keys:
            if not _is_this_machine(request.headers.get("host", "localhost")):
                # A page in this machine's browser whose host name was made to lead here (DNS rebinding).
                raise ApiError(401, ErrorCode.INVALID_API_KEY, "没有密钥的服务只能以 127.0.0.1 或 localhost 访问。")
            return None
        name = self._keys.name_of(request.headers.get("authorization", ""))
        if name is None:
            await self._strangers.charge("")
            # One answer to a wrong, a missing and a revoked key: which it was helps only whoever guesses.
            message = "密钥缺失或不正确，应为 Authorization: Bearer <FINTUNNEL_API_KEY>"
            raise ApiError(401, ErrorCode.INVALID_API_KEY, message)
        log = current_request.get()
        if log is not None:
            log.key_name = name
        return name


def require_key(check: KeyCheck, rate: RateLimit) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass with `Authorization: Bearer KEY`, so often as its key may ask."""

    async def passes(request: Request) -> None:  # a plain function would be run in a thread of its own
        name = await check.name_of(request)
        if name is not None:
            request.state.key_name = name
            await rate.charge(name)

    return passes


def key_name(request: Request) -> str | None:
    """The name of the key that a request came with; None where none is asked for."""
    return getattr(request.state, "key_name", None)


def _is_this_machine(host: str) -> bool:
    """`host`: a header's, with or without a port."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name.lower())


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
