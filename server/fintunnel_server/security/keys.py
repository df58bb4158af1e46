"""Who may ask: named API keys, and a bound on how fast each of them may."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request
from fintunnel.wire import ErrorCode
from pydantic import SecretStr

from fintunnel_server.api_errors import ApiError
from fintunnel_server.security.rate_limit import RateLimit

__all__ = ["ApiKeys", "key_name", "require_key"]


class ApiKeys:
    """The server's keys by name. Without any, whoever reaches the port may ask."""

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


def require_key(keys: ApiKeys, rate: RateLimit) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass with `Authorization: Bearer KEY`, so often as its key may ask."""

    async def check(request: Request) -> None:  # a plain function would be run in a thread of its own
        if not keys:
            return
        name = keys.name_of(request.headers.get("authorization", ""))
        if name is None:
            # One answer to a wrong, a missing and a revoked key: which it was helps only whoever guesses.
            raise ApiError(
                401, ErrorCode.INVALID_API_KEY, "密钥缺失或不正确，应为 Authorization: Bearer <FINTUNNEL_API_KEY>"
            )
        request.state.key_name = name
        await rate.charge(name)

    return check


def key_name(request: Request) -> str | None:
    """The name of the key that a request came with; None where none is asked for."""
    return getattr(request.state, "key_name", None)
