"""The one folder from which adapters may be added while the server runs."""

from __future__ import annotations

from pathlib import Path

from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError

__all__ = ["folder_under"]


def folder_under(root: Path, name: str) -> Path:
    """The adapter folder of that name directly under `root`. A link that leads elsewhere is none.

    Raises:
        ApiError: 404, there is none.
    """
    folder = (root / name).resolve()
    if folder.parent != root.resolve() or not folder.is_dir():
        raise ApiError(404, ErrorCode.NOT_FOUND, f"适配器根目录下没有 {name}", "folder")
    return folder
