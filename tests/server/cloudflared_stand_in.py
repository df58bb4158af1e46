"""A program in the place of `cloudflared tunnel --url …`: its log on stderr (as 2026.8 writes it) and its `/ready`.

    STAND_IN_RECORD   folder: it notes there how it was called, line by line, in `argv` and `agent`
    STAND_IN_PLAN     what each start in turn does, separated by `;`; the last is what all later ones do:
                      "ok"; "429": Cloudflare refuses; "offline": it cannot be reached; "unconnected": an address, but
                      no connection; "silent"; "stubborn": as ok, but it does not end on SIGTERM

SIGUSR1: its connection is lost, and not found again before SIGUSR2.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECORD = Path(os.environ["STAND_IN_RECORD"])
connections = 0


def note(name: str, value: object) -> None:
    with (RECORD / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def log(line: str, level: str = "INF") -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {level} {line}\n")
    sys.stderr.flush()


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = 404 if self.path != "/ready" else 200 if connections else 503
        connector = "6c18dc93-5ee3-4d5f-9e4e-8a0a3f4f1f11"
        data = json.dumps({"status": status, "readyConnections": connections, "connectorId": connector}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def lose(number: int, frame: object) -> None:
    del number, frame
    global connections
    connections = 0
    log('Failed to serve tunnel connection error="timeout: no recent network activity" connIndex=0 event=0', "ERR")
    log("Retrying connection in up to 1s connIndex=0 event=0 ip=198.51.100.7")


def connect(number: int = 0, frame: object = None) -> None:
    del number, frame
    global connections
    connections = 1
    log("Registered tunnel connection connIndex=0 connection=d0 event=0 ip=198.51.100.7 location=hkg01 protocol=quic")


note("argv", sys.argv)
arguments = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=False))
starts = len((RECORD / "argv").read_text(encoding="utf-8").splitlines())
plan = os.environ.get("STAND_IN_PLAN", "ok").split(";")
kind = plan[min(starts, len(plan)) - 1]
note(
    "agent",
    {
        "pid": os.getpid(),
        "config": Path(arguments["--config"]).read_text(encoding="utf-8"),
        "path": arguments["--config"],
        "environment": sorted(os.environ),
    },
)
assert sys.argv[1:3] == ["tunnel", "--no-autoupdate"], sys.argv
if kind == "silent":
    time.sleep(60)
log("Thank you for trying Cloudflare Tunnel. Doing so, without a Cloudflare account, is a quick way to experiment.")
log("Requesting new quick Tunnel on trycloudflare.com...")
if kind == "429":
    log(
        "Error unmarshaling QuickTunnel response: error code: 1015 "
        'error="invalid character \'e\' looking for beginning of value" status_code="429 Too Many Requests"',
        "ERR",
    )
    sys.exit("failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value")
if kind == "offline":
    sys.exit(
        'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial tcp: lookup '
        "api.trycloudflare.com on 127.0.0.53:53: no such host"
    )
url = f"https://stand-in-start-number-{starts}.trycloudflare.com"
for row in (f"+{'-' * 92}+", "|  Your quick Tunnel has been created! Visit it at (it may take some time …):  |"):
    log(row)
log(f"|  {url:<88}  |")
log(f"+{'-' * 92}+")
log("Version 2026.8.0 (Checksum 0)")
log("Settings: map[config:config.yml ha-connections:1 metrics:127.0.0.1:0 no-autoupdate:true protocol:quic]")
signal.signal(signal.SIGUSR1, lose)
signal.signal(signal.SIGUSR2, connect)
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = ThreadingHTTPServer(("127.0.0.1", int(arguments["--metrics"].rpartition(":")[2])), Metrics)
log(f"Starting metrics server on 127.0.0.1:{server.server_port}/metrics")
if kind != "unconnected":
    connect()
server.serve_forever(poll_interval=0.02)
