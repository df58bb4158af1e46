from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.browser import executable
from tests.browser.executable import find_browser


def test_a_named_browser_is_the_only_one_looked_for(tmp_path: Path) -> None:
    assert find_browser({"FINTUNNEL_BROWSER": sys.executable}) == sys.executable
    assert find_browser({"FINTUNNEL_BROWSER": str(tmp_path / "none")}) is None


def test_a_browser_is_found_where_windows_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(executable, "_MACOS", ())
    monkeypatch.setattr(executable, "_WINDOWS", ("Edge/msedge.exe",))
    assert find_browser({"PROGRAMFILES": str(tmp_path)}) is None
    edge = tmp_path / "Edge" / "msedge.exe"
    edge.parent.mkdir()
    edge.touch()
    assert find_browser({"PROGRAMFILES": str(tmp_path)}) == str(edge)
