"""A program in the ngrok agent's place, as far as pyngrok and the tunnel's watch meet it; and its public side.

It speaks the agent's log (logfmt on stdout, as agent 3.37 writes it), and its local API (`/api/endpoints`). Variables:

    STAND_IN_RECORD   folder: it notes there how it was called, line by line, in `argv`, `agent`, `endpoints`
    STAND_IN_PLAN     what each start in turn does, separated by `;`; the last is what all later ones do:
                      "ok"; "die": at once; "silent": no log; "reject CODE": no session; "refuse CODE": no endpoint;
                      "open SECONDS": as ok, then it ends
    STAND_IN_URL      the address that ngrok chooses, `{start}` in it is the number of the start
    STAND_IN_PUBLIC   port on loopback that forwards to the upstream, as ngrok's edge does

SIGUSR1: the session is lost, and not found again before SIGUSR2. SIGTERM ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

RECORD = Path(os.environ["STAND_IN_RECORD"])


def note(name: str, value: object) -> None:
    with (RECORD / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def log(line: str) -> None:
    sys.stdout.write(f"t={time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")
    sys.stdout.flush()


class Api(BaseHTTPRequestHandler):
    """The agent's: on the address that its log names."""

    endpoints: dict[str, dict[str, object]] = {}
    refuses = ""

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        log(f"lvl=info msg=end pg={self.path} id=0123456789abcdef status={status} dur=1.1ms")

    def do_GET(self) -> None:
        known = self.path == "/api/endpoints"
        self.answer(200 if known else 404, {"endpoints": list(self.endpoints.values()), "uri": "/api/endpoints"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note("endpoints", {"path": self.path, **asked})
        if self.refuses:
            details = {"err": f"failed to start tunnel: refused.\r\n\r\nERR_NGROK_{self.refuses}\r\n"}
            refusal = {"error_code": 103, "status_code": 502, "msg": "failed to start tunnel", "details": details}
            self.answer(502, refusal)
            return
        chosen = os.environ.get("STAND_IN_URL", "https://stand-in.ngrok-free.dev").format(start=STARTS)
        endpoint = {"url": chosen, **asked}
        self.endpoints[asked["name"]] = endpoint
        forward(asked["upstream"]["url"])
        log(f'lvl=info msg="started tunnel" obj=tunnels name={asked["name"]} url={endpoint["url"]}')
        self.answer(201, endpoint)

    def do_DELETE(self) -> None:
        self.endpoints.pop(self.path.rpartition("/")[2])
        self.answer(204, None)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def forward(upstream: str) -> None:
    """Listen as the public side does."""
    if not os.environ.get("STAND_IN_PUBLIC"):
        return

    class Edge(BaseHTTPRequestHandler):
        def forwarded(self) -> None:
            target = urlsplit(upstream)
            connection = HTTPConnection(str(target.hostname), target.port or 80, timeout=30)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            log(f'lvl=info msg="join connections" obj=join id=0123456789ab l={target.netloc} r=203.0.113.5:4711')
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = forwarded

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    edge = ThreadingHTTPServer(("127.0.0.1", int(os.environ["STAND_IN_PUBLIC"])), Edge)
    threading.Thread(target=edge.serve_forever, daemon=True).start()


def reject(token: str, code: str) -> None:
    """As the real agent does for a token that is bad: it repeats it."""
    time.sleep(0.1)  # the way to ngrok and back; the lines before have been read
    text = rf"authentication failed: no.\nYour authtoken: {token}\r\n\r\nERR_NGROK_{code}\r\n"
    log(f'lvl=eror msg="failed to auth session" obj=tunnels.session err="{text}"')
    log(f'lvl=eror msg="terminating with error" obj=app err="{text}"')
    log(f'lvl=crit msg="command failed" err="{text}"')
    time.sleep(0.1)  # its way down: pyngrok reads no line of a process that has ended
    sys.exit(1)


def lose_session(number: int, frame: object) -> None:
    del number, frame
    log('lvl=eror msg="session closed, starting reconnect loop" obj=tunnels.session err="read EOF from remote peer"')
    log(
        'lvl=eror msg="failed to reconnect session" obj=tunnels.session obj=csess id=0123456789ab err="failed to dial '
        'ngrok server with address \\"connect.ngrok-agent.com:443\\": dial tcp 203.0.113.9:443: i/o timeout"'
    )


def find_session(number: int = 0, frame: object = None) -> None:
    del number, frame
    log('lvl=info msg="tunnel session started" obj=tunnels.session')
    log('lvl=info msg="client session established" obj=tunnels.session obj=csess id=0123456789ab')


note("argv", sys.argv)
STARTS = len((RECORD / "argv").read_text(encoding="utf-8").splitlines())
plan = os.environ.get("STAND_IN_PLAN", "ok").split(";")
kind, _, value = plan[min(STARTS, len(plan)) - 1].partition(" ")
if kind == "die":
    sys.exit(1)
if kind == "silent":
    note("agent", {"pid": os.getpid()})
    time.sleep(60)
assert sys.argv[1:3] == ["start", "--none"], sys.argv
config = Path(sys.argv[sys.argv.index("--config") + 1])
note(
    "agent",
    {
        "pid": os.getpid(),
        "path": str(config),
        "config": config.read_text(encoding="utf-8"),
        "mode": config.stat().st_mode & 0o777,
        "folder_mode": config.parent.stat().st_mode & 0o777,
    },
)
signal.signal(signal.SIGUSR1, lose_session)
signal.signal(signal.SIGUSR2, find_session)
if kind == "refuse":
    Api.refuses = value
server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
log('lvl=info msg="open config file" path=ngrok.yml err=nil')
log(f'lvl=info msg="starting web service" obj=web addr=127.0.0.1:{server.server_port} allow_hosts=[]')
note("api", server.server_port)
if kind == "reject":
    line = next(line for line in config.read_text(encoding="utf-8").splitlines() if "authtoken: " in line)
    reject(json.loads(line.partition("authtoken: ")[2]), value)
# The order in which pyngrok waits for both; the agent writes them in either.
log('lvl=info msg="client session established" obj=tunnels.session obj=csess id=0123456789ab')
log('lvl=info msg="tunnel session started" obj=tunnels.session')
if kind == "open":
    threading.Timer(float(value), os._exit, [0]).start()
server.serve_forever(poll_interval=0.02)
