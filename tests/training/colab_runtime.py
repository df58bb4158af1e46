"""What Colab has and no test's machine has, `google.colab`; the object that cells call."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from fintunnel_training.colab.launch import Launch
from fintunnel_training.colab.places import Places

__all__ = ["Colab", "form", "launch", "on_colab", "places_in", "ready"]


class Colab:
    """`google.colab` as the notebook uses it. `refuse_drive`: what mounting and unmounting raise."""

    def __init__(self, secrets: dict[str, str] | None = None, uploads: dict[str, bytes] | None = None) -> None:
        self.secrets = secrets or {}
        self.uploads = uploads or {}
        self.mounted: list[str] = []
        self.downloaded: list[str] = []
        self.flushed = 0
        self.refuse_drive: Exception | None = None

    def mount(self, place: str) -> None:
        if self.refuse_drive is not None:
            raise self.refuse_drive
        self.mounted.append(place)

    def flush_and_unmount(self) -> None:
        self.flushed += 1
        if self.refuse_drive is not None:
            raise self.refuse_drive

    def upload(self) -> dict[str, bytes]:
        for name, content in self.uploads.items():
            Path(name).write_bytes(content)
        return self.uploads


def on_colab(monkeypatch: pytest.MonkeyPatch, colab: Colab) -> Colab:
    absent = type("SecretNotFoundError", (Exception,), {})

    def get(name: str) -> str:
        if name not in colab.secrets:
            raise absent(name)
        return colab.secrets[name]

    module = types.ModuleType("google.colab")
    module.userdata = types.SimpleNamespace(get=get, SecretNotFoundError=absent)  # type: ignore[attr-defined]
    module.drive = types.SimpleNamespace(mount=colab.mount, flush_and_unmount=colab.flush_and_unmount)  # type: ignore[attr-defined]
    module.files = types.SimpleNamespace(upload=colab.upload, download=colab.downloaded.append)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return colab


def form(**changes: object) -> dict[str, object]:
    """The notebook's form, with some fields filled in otherwise."""
    return {
        "data": "sample",
        "base": "embedded",
        "num_samples": 20,
        "epochs": 3.0,
        "max_steps": 0,
        "batch_size": 4,
        "max_length": 512,
        "learning_rate": 2e-4,
        "calibrate": True,
        "compare_rows": 4,
        "headline": "美联储宣布加息25个基点",
        "download": True,
        "use_ngrok": False,
        "folder": "",
        "work": "",
        **changes,
    }


def places_in(folder: Path) -> Places:
    """As on Colab: what is to stay lies elsewhere than the work."""
    made = Places(folder / "kept", folder / "work")
    made.check()
    return made


def launch(here: Places, **changes: object) -> Launch:
    return Launch(**form(folder=str(here.folder), work=str(here.work), **changes))


def ready(here: Places, **changes: object) -> Launch:
    lab = launch(here, **changes)
    lab.read_secrets()
    return lab
