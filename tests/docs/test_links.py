"""Every link of every document leads somewhere. Nothing is fetched: what is outside is counted and has to be https."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from tests.built_package import ROOT, tracked_files
from tests.docs.markdown_page import read_page, slug

REPOSITORY: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
_NAME = REPOSITORY.removeprefix("https://github.com/")
# The one address of the repository that a document may hold.
COLAB = f"https://colab.research.google.com/github/{_NAME}/blob/main/colab_launch.ipynb"
LOOPBACK = ("127.0.0.1", "localhost")


class Link(NamedTuple):
    page: str
    target: str


def documents() -> list[str]:
    return [name for name in tracked_files() if name.endswith(".md")]


def links() -> list[Link]:
    return [Link(name, target) for name in documents() for target in read_page(ROOT / name).targets]


def fault_of(link: Link, tracked: set[str]) -> str | None:
    """What is wrong with a link within the repository."""
    parts = urlsplit(link.target)
    if link.target.startswith("/"):
        return "begins at a root that GitHub and a clone do not share"
    path = PurePosixPath(_normal(PurePosixPath(link.page).parent / unquote(parts.path)) if parts.path else link.page)
    if str(path) not in tracked and not any(name.startswith(f"{path}/") for name in tracked):
        return "no such tracked file or folder"
    if parts.fragment and path.suffix == ".md" and unquote(parts.fragment) not in read_page(ROOT / path).anchors:
        return "no such heading"
    return None


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return "above the repository"
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def is_external(link: Link) -> bool:
    return bool(urlsplit(link.target).scheme)


def test_links_within_the_repository_lead_to_tracked_files_and_headings() -> None:
    tracked = set(tracked_files())
    within = [link for link in links() if not is_external(link)]
    faults = {link: fault for link in within if (fault := fault_of(link, tracked))}
    assert not faults
    assert len(within) > 10  # they are found at all


def test_links_to_the_outside_are_https() -> None:
    outside = [link for link in links() if is_external(link)]
    plain = [link for link in outside if urlsplit(link.target).scheme != "https"]
    assert not [link for link in plain if urlsplit(link.target).hostname not in LOOPBACK]
    assert all(urlsplit(link.target).hostname for link in outside)


def test_the_repositorys_own_address_is_pyprojects() -> None:
    """A link to another place of it would still show main to whoever reads an older version."""
    own = [link for link in links() if link.target.lower().startswith(REPOSITORY.lower())]
    colab = [link for link in links() if "colab.research.google.com/github/" in link.target]
    assert {link.target for link in own + colab} <= {COLAB}


def test_how_many_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """For the record, also without `-s`."""
    found = links()
    hosts = Counter(urlsplit(link.target).hostname for link in found if is_external(link))
    outside = f"{hosts.total()} to {len(hosts)} hosts"
    with capsys.disabled():
        print(f"\n{len(found)} links in {len(documents())} documents, {outside}")  # noqa: T201
    assert found


# --- the checker itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("What is where", "what-is-where"),
        ("What a stranger's call costs: bounds", "what-a-strangers-call-costs-bounds"),
        ("公开到互联网", "公开到互联网"),
        ("两条命令（Windows、Linux）", "两条命令windowslinux"),
        ("`fintunnel serve` & co.", "fintunnel-serve--co"),
        ("OpenAI's /v1", "openais-v1"),
    ],
)
def test_anchors_are_githubs(heading: str, anchor: str) -> None:
    assert slug(heading.replace("`", "")) == anchor


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# 标题\n\n## Twice\n\n## Twice\n\n[a](../LICENSE#x) ![b](no.png) <img src='c.png'>\n\n`[no](link)`\n\n"
        "```\n[no](link)\n```\n\n| t |\n| --- |\n| [d](<with space.md>) |\n",
        encoding="utf-8",
    )
    found = read_page(page)
    assert sorted(found.targets) == ["../LICENSE#x", "c.png", "no.png", "with%20space.md"]
    assert found.anchors == {"标题", "twice", "twice-1"}
    tracked = {"docs/a.md", "LICENSE", "README.md"}
    assert fault_of(Link("docs/a.md", "../LICENSE"), tracked) is None
    assert fault_of(Link("README.md", "docs"), tracked) is None
    assert fault_of(Link("README.md", "#no-such-heading-at-all"), tracked) == "no such heading"
    for target in ("a.md", "../../LICENSE", "/LICENSE"):
        assert fault_of(Link("README.md", target), tracked) is not None
