"""The real app with an instant engine, for examples that are run by hand or by CI: needs the extra `gateway` alone.

    python -m tests.serve_instant

Prints its URL and serves until stdin closes. The key is FINTUNNEL_API_KEY's, or none.
"""

from __future__ import annotations

import os
import sys

from tests.instant_engine import InstantEngine
from tests.live_app import run_app


def main() -> None:
    with run_app(InstantEngine(), api_key=os.environ.get("FINTUNNEL_API_KEY") or None) as app:
        sys.stdout.write(f"{app.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
