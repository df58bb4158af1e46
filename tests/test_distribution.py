"""What is published: the sdist holds the whole source, the wheel the whole packages, and both say who they are."""

from __future__ import annotations

import configparser
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fintunnel
import pytest
from markdown_it import MarkdownIt
from packaging.metadata import Metadata

from tests.built_package import ROOT, build, copy_of_tracked_files, files_of_wheel, tracked_files, unpack_sdist

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("client/fintunnel/", "server/fintunnel_server/", "training/fintunnel_training/")
NOT_IN_THE_SDIST = (".ci/",)
DIST_INFO = f"fintunnel-{fintunnel.__version__}.dist-info"


@dataclass(frozen=True)
class Built:
    """`unpacked`: the source tree in the sdist; `of_tree` and `of_sdist`: the files of a wheel that was built from the
    checkout and of one from `unpacked`."""

    unpacked: Path
    of_tree: dict[str, bytes]
    of_sdist: dict[str, bytes]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    tree = copy_of_tracked_files(folder / "tree")
    unpacked = unpack_sdist(build(tree, "sdist", folder / "sdist"), folder / "unpacked")
    assert unpacked.name == f"fintunnel-{fintunnel.__version__}"
    of_tree = build(tree, "wheel", folder / "wheel")
    assert of_tree.name == f"fintunnel-{fintunnel.__version__}-py3-none-any.whl"
    of_sdist = build(unpacked, "wheel", folder / "wheel of the sdist")
    return Built(unpacked, files_of_wheel(of_tree), files_of_wheel(of_sdist))


@pytest.fixture(scope="module")
def metadata(built: Built) -> Metadata:
    return Metadata.from_email(built.of_tree[f"{DIST_INFO}/METADATA"], validate=True)  # by the package index's rules


def test_the_sdist_is_complete(built: Built) -> None:
    within = {path.relative_to(built.unpacked).as_posix() for path in built.unpacked.rglob("*") if path.is_file()}
    assert within == {name for name in tracked_files() if not name.startswith(NOT_IN_THE_SDIST)} | {"PKG-INFO"}


def test_the_wheel_holds_the_packages_and_nothing_else(built: Built) -> None:
    wanted = {name.partition("/")[2] for name in tracked_files() if name.startswith(PACKAGES)}
    assert {name for name in built.of_tree if not name.startswith(DIST_INFO)} == wanted
    assert wanted >= {  # what an installation would miss without an import failing
        "fintunnel/py.typed",
        "fintunnel_server/page/index.html",
        "fintunnel_server/rate/page/index.html",
        "fintunnel_training/qlora/presets/t4.yaml",
        "fintunnel_training/dataset/sources/sample/flashes.csv",
        "fintunnel_training/comparison/report/templates/report.html.j2",
    }


def test_a_wheel_of_the_sdist_is_the_wheel_of_the_tree(built: Built) -> None:
    assert built.of_sdist == built.of_tree


def test_the_metadata_says_what_pyproject_says(built: Built, metadata: Metadata) -> None:
    assert (metadata.name, str(metadata.version)) == ("fintunnel", fintunnel.__version__)
    assert metadata.license_expression == "MIT" and metadata.license_files == ["LICENSE"]
    assert built.of_tree[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert str(metadata.requires_python) == ">=3.11"
    assert metadata.classifiers == PROJECT["classifiers"] and metadata.project_urls == PROJECT["urls"]
    assert set(metadata.provides_extra or []) == set(PROJECT["optional-dependencies"])


def test_the_readme_is_the_description_and_is_markdown(metadata: Metadata) -> None:
    assert metadata.description_content_type == "text/markdown"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert metadata.description == readme
    page = MarkdownIt("commonmark").enable("table").render(readme)
    assert page.startswith("<h1>FinTunnel</h1>") and "<table>" in page and "<pre><code" in page


def test_every_command_is_an_entry_point_of_the_wheel(built: Built) -> None:
    points = configparser.ConfigParser()
    points.optionxform = str  # type: ignore[assignment,method-assign]  # as they are written
    points.read_string(built.of_tree[f"{DIST_INFO}/entry_points.txt"].decode())
    assert dict(points["console_scripts"]) == PROJECT["scripts"]
    assert dict(points["fintunnel.commands"]) == PROJECT["entry-points"]["fintunnel.commands"]


def test_every_extra_for_users_is_tried_in_a_clean_environment() -> None:
    """By tests/test_wheel.py, once a week."""
    text = (ROOT / "tests" / "test_wheel.py").read_text(encoding="utf-8")
    [together] = re.findall(r'parametrize\("extra", \[(.+)\]\)\n.*installed: ', text)
    assert "installed(extra, " in text
    tried = {*re.findall(r'\binstalled\("(\w+)"', text), *re.findall(r"\w+", together)}
    assert tried == set(PROJECT["optional-dependencies"]) - {"dev"}
