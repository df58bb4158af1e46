"""The one folder from which adapters may be added while the server runs."""

from __future__ import annotations

from pathlib import Path

from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError

__all__ = ["folder_under"]


def folder_under(root: Path, name: str) -> Path:
    """The adapter folder of that name directly under `root`. One that is a link to elsewhere, or holds one, is none.

    Raises:
        ApiError: 404, there is none.
    """
    try:
        folder = (root / name).resolve()
        inside = folder.parent == root.resolve() and folder.is_dir()
        if inside and all(path.resolve().parent == folder for path in folder.iterdir() if path.is_symlink()):
            return folder
    except (OSError, RuntimeError):  # a circle of links, or nothing that may be read
        pass
    raise ApiError(404, ErrorCode.NOT_FOUND, f"适配器根目录下没有 {name}", "folder")
