"""A public https URL for the local server, kept open for as long as the server runs.

agent.py           what watching needs of a tunnel program, and of the log lines of one
ngrok.py           ngrok, through pyngrok                     ngrok_errors.py   its error codes: what to do
cloudflared.py     Cloudflare's quick tunnels, without an account
watch.py           Tunnel: opens, watches, reopens            backoff.py        how long it waits in between
publication.py     tells the URL: on stdout, in the connection file
announcement.py    the text of it: lines to paste             choice.py         --tunnel and its settings
"""

from __future__ import annotations

from fintunnel_server.tunnel.choice import agent_factory
from fintunnel_server.tunnel.publication import Publication, check_connection_file
from fintunnel_server.tunnel.watch import Tunnel, TunnelState

__all__ = ["Publication", "Tunnel", "TunnelState", "agent_factory", "check_connection_file"]
