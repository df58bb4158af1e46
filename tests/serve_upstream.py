"""`python -m tests.serve_upstream CARDS KEY`: the upstream's stand-in as a process of its own, which can be killed.

Prints its URL, and serves until it is ended.
"""

from __future__ import annotations

import json
import sys
import threading

from tests.server.upstream_stand_in import Upstream, upstream_server

if __name__ == "__main__":
    with upstream_server(Upstream(cards=json.loads(sys.argv[1]), api_key=sys.argv[2])) as upstream:
        sys.stdout.write(f"{upstream.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
