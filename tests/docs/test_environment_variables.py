"""Every environment variable that the product reads stands in a table of both READMEs, and no other does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fintunnel.settings import ClientSettings
from fintunnel_server.settings import ServerSettings
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from tests.docs.markdown_page import tables_in

ROOT = Path(__file__).parents[2]
PACKAGES = ("client/fintunnel", "server/fintunnel_server", "training/fintunnel_training")
READMES = ("README.md", "README.zh-CN.md")
# Other programs' variables, which the product looks at or hands on; the READMEs may name them and need not.
FOREIGN = {
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",  # httpx
    "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN",  # huggingface_hub
    "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE",
    "CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "RANK", "WORLD_SIZE",  # CUDA, torch's launchers
    "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "THP_MEM_ALLOC_ENABLE", "TENSORBOARD_LOGGING_DIR",  # torch, transformers
    "DISPLAY", "WAYLAND_DISPLAY", "NO_COLOR", "XDG_CACHE_HOME",  # the desktop and the terminal
}  # fmt: skip
# What the product says to itself: set by the notebook in the server that it starts, to know it again. Nobody sets it.
OURS_ALONE = {"FINTUNNEL_NOTEBOOK_KERNEL"}
_OWN = re.compile(r"(FINTUNNEL|DEEPSEEK|NGROK|PYNGROK|TEACHER)_[A-Z0-9_]*[A-Z0-9]")
_READS = re.compile(rf"environ|getenv|envvar|{_OWN.pattern}")  # the other files need not be parsed
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|DISPLAY|RANK")


def of_settings(settings: type[BaseSettings]) -> set[str]:
    """A field without an alias would be read by its own name: there is none."""
    names: set[str] = set()
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        assert alias is not None, f"{settings.__name__}.{name}"
        names |= {str(each) for each in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}
    return names


def read_by(tree: ast.AST) -> set[str]:
    """Names in `os.environ` and `os.getenv`, in typer's `envvar=`, and whatever looks like one of ours. Where a name
    is computed, every text of that file that looks like a variable counts, but for `__all__`."""
    exported = {name for node in ast.walk(tree) if _is_all(node) for name in ast.walk(node)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in exported)
    texts = {node.value for node in constants if isinstance(node.value, str)}
    found = {text for text in texts if _OWN.fullmatch(text)}
    for key in _keys(tree):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.add(key.value.upper())  # no_proxy is NO_PROXY
        else:
            found |= {text for text in texts if _VARIABLE.fullmatch(text)}
    return found


def _is_all(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _keys(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            yield node.slice
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
            yield node.left
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("os.getenv", "os.environ.get", "os.environ.setdefault") and node.args:
                yield node.args[0]
            for keyword in node.keywords:
                if keyword.arg == "envvar":
                    yield from keyword.value.elts if isinstance(keyword.value, ast.List) else [keyword.value]


@cache
def read_by_the_product() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    read = (read_by(ast.parse(text)) for text in texts if _READS.search(text))
    return of_settings(ClientSettings) | of_settings(ServerSettings) | set().union(*read)


def in_tables(markdown: str) -> set[str]:
    """Code in the first column of tables whose header begins with "variable" or "变量"."""
    tables = [rows for rows in tables_in(markdown) if rows[0][0].lower().startswith(("variable", "变量"))]
    return {name for _, *rows in tables for row in rows for name in re.findall(r"`([^`]+)`", row[0])}


@pytest.mark.parametrize("readme", READMES)
def test_both_readmes_tables_hold_exactly_what_is_read(readme: str) -> None:
    documented = in_tables((ROOT / readme).read_text(encoding="utf-8"))
    read = read_by_the_product()
    assert sorted(read - FOREIGN - OURS_ALONE - documented) == [], "read, and not documented"
    assert sorted(documented - read - FOREIGN) == [], "documented, and not read"


def test_no_variable_counts_as_foreign_for_nothing() -> None:
    """What nothing reads and neither README names."""
    documented = set().union(*(in_tables((ROOT / name).read_text(encoding="utf-8")) for name in READMES))
    by_libraries = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    assert sorted((FOREIGN | OURS_ALONE) - read_by_the_product() - documented - by_libraries) == []


def test_every_way_of_reading_a_variable_is_seen() -> None:
    source = """
import os
a = os.environ["A_ONE"]; b = os.environ.get("B_TWO") or os.getenv("C_THREE"); c = "D_FOUR" in os.environ
option = typer.Option(envvar="E_FIVE"); options = typer.Option(envvar=["F_SIX"])
aliased = Field(validation_alias="FINTUNNEL_SEVEN"); text = "FINTUNNEL_"; other = "FINTUNNEL_URL 的值"
"""
    seven = {"A_ONE", "B_TWO", "C_THREE", "D_FOUR", "E_FIVE", "F_SIX", "FINTUNNEL_SEVEN"}
    assert read_by(ast.parse(source)) == seven
    assert read_by(ast.parse("NAMES = ('G_EIGHT', 'words')\nfor n in NAMES: os.environ.get(n)")) == {"G_EIGHT"}


def test_only_the_first_column_of_such_tables_counts() -> None:
    text = "| Variables | for |\n| --- | --- |\n| `A_B`, `C` (or `D`) | `E` |\n"
    text += "\n| bound | `F` |\n| --- | --- |\n| `G` | 1 |\n"
    assert in_tables(text) == {"A_B", "C", "D"}
    assert in_tables(text.replace("Variables", "变量")) == {"A_B", "C", "D"}
