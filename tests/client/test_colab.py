"""Secrets: Colab's before the environment's, and none is no error."""

from __future__ import annotations

import sys
import types

import pytest
from fintunnel.colab import secret


def colab(monkeypatch: pytest.MonkeyPatch, stored: dict[str, str | type[Exception]]) -> None:
    """`google.colab.userdata` in a notebook's process."""
    kinds = {name: type(name, (Exception,), {}) for name in ("SecretNotFoundError", "NotebookAccessError")}

    def get(name: str) -> str:
        value = stored.get(name, "SecretNotFoundError")
        if str(value) in kinds:
            raise kinds[str(value)](name)
        return str(value)

    module = types.ModuleType("google.colab")
    module.userdata = types.SimpleNamespace(get=get, **kinds)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)


def test_outside_colab_it_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret("NGROK_AUTHTOKEN") == ""
    monkeypatch.setenv("NGROK_AUTHTOKEN", " of-the-environment\n")
    assert secret("NGROK_AUTHTOKEN") == "of-the-environment"


@pytest.mark.parametrize("missing", ["SecretNotFoundError", "NotebookAccessError", " \n"])
def test_colabs_goes_first_and_one_that_it_does_not_give_is_the_environments(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv("NGROK_AUTHTOKEN", "of-the-environment")
    colab(monkeypatch, {"NGROK_AUTHTOKEN": " of-colab\n"})
    assert secret("NGROK_AUTHTOKEN") == "of-colab"
    colab(monkeypatch, {"NGROK_AUTHTOKEN": missing})
    assert secret("NGROK_AUTHTOKEN") == "of-the-environment"
