"""`/admin/adapters`: adapters added while the server runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fintunnel.wire.model import WireModel

__all__ = [
    "AdapterLoad",
    "AdapterLoaded",
]

AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


class AdapterLoad(WireModel):
    """`name`: what requests call the adapter; `folder`: of the adapter, directly under the server's adapter root,
    where it is called otherwise."""

    name: AdapterName
    folder: AdapterName | None = None


class AdapterLoaded(WireModel):
    name: str
