"""Addresses of ngrok, whose free plan shows browsers a warning page first; a program asks it not to."""

from __future__ import annotations

__all__ = ["SKIP_WARNING", "is_ngrok"]

SKIP_WARNING = "ngrok-skip-browser-warning"  # a header of any value

_DOMAINS = (".ngrok-free.dev", ".ngrok-free.app", ".ngrok.app", ".ngrok.dev", ".ngrok.io")


def is_ngrok(host: str) -> bool:
    """A domain of one's own is not told from others; it has no such page."""
    return host.endswith(_DOMAINS)
