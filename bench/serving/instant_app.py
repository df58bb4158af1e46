"""The app as `fintunnel serve` runs it, around an engine that answers at once: what is left is the app's own work.

python -m bench.serving.instant_app --port 8000
"""

from __future__ import annotations

import argparse
import logging

import uvicorn
from fintunnel_server.app import create_app
from fintunnel_server.settings import load_settings

from tests.instant_engine import InstantEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)  # a line for each request, as `serve` writes
    # All labels are equally likely; a text is as long as it may be, in one piece a token.
    engine = InstantEngine(text="金", endless=True, context_tokens=4096, remembers=False)
    app = create_app(load_settings(), engine)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_config=None, server_header=False)


if __name__ == "__main__":
    main()
