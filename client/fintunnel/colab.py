"""Secrets of a notebook on Google Colab. Only the notebook's own process sees them: a server that it starts as another
process gets them in its environment."""

from __future__ import annotations

import os
import sys

__all__ = ["secret"]


def secret(name: str) -> str:
    """The secret of that name: Colab's, else the environment's, without spaces and line ends around it; empty where
    there is none, or where the notebook may not see it."""
    return (_from_colab(name) or os.environ.get(name, "")).strip()


def _from_colab(name: str) -> str:
    if "google.colab" not in sys.modules:  # Colab's kernels have it loaded; its other processes cannot use it
        return ""
    from google.colab import userdata  # type: ignore[import-not-found, unused-ignore]

    # Not there, not allowed, or nobody answered the question whether it is; older Colabs lack the last.
    names = ("SecretNotFoundError", "NotebookAccessError", "TimeoutException")
    absent = tuple(getattr(userdata, name) for name in names if hasattr(userdata, name))
    try:
        return str(userdata.get(name)).strip()
    except absent:
        return ""
