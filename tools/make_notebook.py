"""Writes `colab_launch.ipynb` from `notebook.md`; with `--check` says by its exit status whether the committed one
is current.

The repository's address is taken from pyproject.toml. The cells call `fintunnel_training.colab`; they hold no logic,
but for the one that fetches the code.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

__all__ = ["NOTEBOOK", "notebook_text"]

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "colab_launch.ipynb"
SOURCE = ROOT / "tools" / "notebook.md"

_COMMENT = re.compile(r"\A<!--.*?-->\n", re.DOTALL)
_FENCE = re.compile(r"^```python ([\w-]+)((?: [\w-]+)*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"


def main(arguments: list[str]) -> int:
    text = notebook_text()
    if arguments != ["--check"]:
        NOTEBOOK.write_text(text, encoding="utf-8", newline="\n")
    elif not NOTEBOOK.is_file() or NOTEBOOK.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{NOTEBOOK.name} 不是最新的，请运行：python tools/make_notebook.py\n")
        return 1
    return 0


def notebook_text() -> str:
    """The notebook as it stands in the file: the same bytes on every run."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repository = pyproject["project"]["urls"]["Repository"]
    path = urlsplit(repository).path
    badge = _BADGE.format(address=f"https://colab.research.google.com/github{path}/blob/main/{NOTEBOOK.name}")
    source = _COMMENT.sub("", SOURCE.read_text(encoding="utf-8"))
    source = source.replace("@BADGE@", badge).replace("@REPOSITORY@", repository)

    notebook = nbformat.v4.new_notebook(
        metadata={
            "accelerator": "GPU",
            "colab": {"gpuType": "T4", "provenance": [], "toc_visible": True},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    end = 0
    for fence in _FENCE.finditer(source):
        name, tags, code = fence.groups()
        title, heading, section = source[end : fence.start()].partition("\n## ")
        for cell_id, text in (("title", title), (f"{name}-text", heading + section)):
            if text.strip():
                notebook.cells.append(nbformat.v4.new_markdown_cell(text.strip(), id=cell_id))
        metadata = {"tags": tags.split()} if tags else {}
        notebook.cells.append(nbformat.v4.new_code_cell(code.rstrip("\n"), id=name, metadata=metadata))
        end = fence.end()
    if source[end:].strip():
        raise ValueError(f"{SOURCE.name}: the text after the last code cell would be lost")
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
