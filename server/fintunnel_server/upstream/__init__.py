"""The model work done by another server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, another FinTunnel, a
hosted API. Imports no torch."""

from __future__ import annotations

from fintunnel_server.upstream.engine import UpstreamEngine
from fintunnel_server.upstream.start import load_upstream_engine, start_upstream_engine

__all__ = ["UpstreamEngine", "load_upstream_engine", "start_upstream_engine"]
