"""Where the browser is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_browser"]

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "msedge")
_WINDOWS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")
_WINDOWS_ROOTS = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
_MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def find_browser(environment: Mapping[str, str] = os.environ) -> str | None:
    """Chromium, Chrome or Edge; `FINTUNNEL_BROWSER` names another one, which is then the only one looked for."""
    named = environment.get("FINTUNNEL_BROWSER")
    if named:
        return shutil.which(named)
    roots = [Path(environment[name]) for name in _WINDOWS_ROOTS if environment.get(name)]
    installed = [*(str(root / path) for path in _WINDOWS for root in roots), *_MACOS]
    on_path = (shutil.which(name) for name in _PROGRAMS)
    return next((found for found in on_path if found), None) or next(filter(os.path.isfile, installed), None)
