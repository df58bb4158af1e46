"""The app as `fintunnel serve` runs it, around an engine that answers at once: what is left is the app's own work.

python -m bench.serving.instant_app --port 8000
"""

from __future__ import annotations

import argparse
import socket

from fintunnel_server.app import create_app
from fintunnel_server.running.connections import ConnectionLimits
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.logs import log_to_stderr
from fintunnel_server.running.server import draining_server
from fintunnel_server.settings import load_settings

from tests.instant_engine import InstantEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    settings = load_settings()
    log_to_stderr(settings.log_format)  # a line for each request, as `serve` writes
    drain = Drain(settings.drain_seconds)
    # All labels are equally likely; a text is as long as it may be, in one piece a token.
    engine = InstantEngine(text="金", endless=True, context_tokens=4096, remembers=False)
    with socket.create_server(("127.0.0.1", arguments.port)) as listener:
        draining_server(create_app(settings, engine, drain=drain), drain, ConnectionLimits()).run([listener])


if __name__ == "__main__":
    main()
