"""Starts an `UpstreamEngine`: checks address, key and models, and finds out what the upstream offers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import httpx
from fintunnel.api_key import clean_key
from fintunnel.prompt import PROMPT_VERSION
from fintunnel_training.adapter import Manifest, read_adapter
from fintunnel_training.calibration.calibration_file import Calibration, read_calibration
from pydantic import SecretStr

from fintunnel_server.engine import AdapterInfo, EngineInfo
from fintunnel_server.errors import ServerError, SettingsError, UpstreamError, UpstreamRefused, UpstreamUnreachable
from fintunnel_server.upstream.address import adapter_name, api_url, extra_fields
from fintunnel_server.upstream.connection import Connection
from fintunnel_server.upstream.engine import UpstreamEngine, listed_models
from fintunnel_server.upstream.probe import probe

__all__ = ["load_upstream_engine", "start_upstream_engine"]

logger = logging.getLogger("fintunnel.upstream")

_LIST_SECONDS = 10.0
_PROBE_SECONDS = 300.0  # a CPU's first passes are slow
_CONTEXT_TOKENS = 4096  # where the upstream does not tell
_LEAST_CONTEXT = 256
_MODELS_TOLD = 8

_Models = dict[str, dict[str, object]]


def load_upstream_engine(
    url: str,
    model: str,
    *,
    api_key: SecretStr | None = None,
    base_model: str | None = None,
    adapter: Path | None = None,
    allow_unverified: bool = False,
    calibrated: bool = True,
    context_tokens: int | None = None,
    connections: int = 128,
) -> UpstreamEngine:
    """Start an engine from where no event loop runs; it is then used in whichever loop comes.

    Args:
        url: the upstream's host, `…/v1`, or whole address.
        model: what it calls the tuned model. Its last path part becomes the name of the default adapter.
        api_key: sent to `url` and nowhere else.
        base_model: what it calls the bare base, for `adapter: "base"`; None: that cannot be asked.
        adapter: the folder of the adapter that the upstream serves, for what its classes mean and its calibration.
        allow_unverified: accept a folder without a manifest.
        calibrated: correct the probabilities where the folder holds a `calibration.json`.
        context_tokens: prompt and answer; default: what the upstream tells, else 4096.
        connections: how many requests are sent at once.

    Raises:
        SettingsError: the address, the key or a model's name is wrong.
        UpstreamUnreachable: nobody answers.
        ServerError: the upstream answers nothing usable.
        AdapterError: the folder is incomplete or altered.
    """
    return asyncio.run(
        start_upstream_engine(
            url,
            model,
            api_key=api_key,
            base_model=base_model,
            adapter=adapter,
            allow_unverified=allow_unverified,
            calibrated=calibrated,
            context_tokens=context_tokens,
            connections=connections,
        )
    )


async def start_upstream_engine(
    url: str,
    model: str,
    *,
    api_key: SecretStr | None = None,
    base_model: str | None = None,
    adapter: Path | None = None,
    allow_unverified: bool = False,
    calibrated: bool = True,
    context_tokens: int | None = None,
    connections: int = 128,
) -> UpstreamEngine:
    """As `load_upstream_engine`, within a running loop."""
    name, url, api_key = adapter_name(model), api_url(url), _checked(api_key)
    manifest, calibration = _adapter_folder(adapter, allow_unverified, calibrated)
    extra = extra_fields(url)
    # Connections belong to the loop that opened them; the engine makes its own where it is used.
    async with Connection(url, api_key) as connection:
        try:
            models = await _models(connection, [model, *([base_model] if base_model else [])])
            async with asyncio.timeout(_PROBE_SECONDS):
                abilities, estimate = await probe(connection, model, extra)
        except (TimeoutError, UpstreamError) as error:
            raise _for_operator(error, url) from error
    about = AdapterInfo(
        prompt_version=(manifest.prompt_version if manifest else None) or PROMPT_VERSION,
        edges=manifest.edges if manifest else None,
        calibration=calibration,
    )
    info = EngineInfo(
        base=manifest.base.id if manifest else base_model or _parent(models, model) or model,
        adapters={name: about},
        default_adapter=name,
        context_tokens=context_tokens or _context_tokens(models, [model, *([base_model] if base_model else [])]),
        has_base=base_model is not None,
        continues_answers=abilities.continues_answers,
    )
    logger.info(
        "upstream %s: %s, %s, context of %d tokens", httpx.URL(url).host, abilities, estimate, info.context_tokens
    )
    return UpstreamEngine(
        Connection(url, api_key, connections=connections),
        info,
        {name: model, **({None: base_model} if base_model else {})},
        abilities=abilities,
        estimate=estimate,
        extra=extra,
        lists_models=models is not None,
    )


def _checked(api_key: SecretStr | None) -> SecretStr | None:
    if api_key is None:
        return None
    try:
        return SecretStr(clean_key(api_key.get_secret_value()))
    except ValueError as error:
        raise SettingsError(f"环境变量 FINTUNNEL_UPSTREAM_API_KEY 无效：{error}") from None


def _adapter_folder(
    folder: Path | None, allow_unverified: bool, calibrated: bool
) -> tuple[Manifest | None, Calibration | None]:
    if folder is None:
        return None, None
    manifest = read_adapter(folder, allow_unverified=allow_unverified)
    return manifest, read_calibration(folder) if calibrated else None


async def _models(connection: Connection, wanted: list[str]) -> _Models | None:
    """The upstream's list, None where it has none; then only its answers show whether it knows a model."""
    try:
        models = await listed_models(connection, timeout=_LIST_SECONDS)
    except UpstreamRefused as error:
        if error.status in (404, 405):
            return None
        raise
    if models is None:
        return None
    missing = [name for name in wanted if name not in models]
    if missing:
        told = "、".join(list(models)[:_MODELS_TOLD]) or "（没有模型）"
        raise SettingsError(f"上游没有模型 {missing[0]}，它有：{told}{' …' if len(models) > _MODELS_TOLD else ''}")
    return models


def _parent(models: _Models | None, model: str) -> str | None:
    """The base of a served adapter, as vLLM tells it."""
    parent = (models or {}).get(model, {}).get("parent")
    return parent if isinstance(parent, str) and parent else None


def _context_tokens(models: _Models | None, names: list[str]) -> int:
    """The smallest context of the models; an adapter's is its base's."""
    told = [_told_context((models or {}).get(name, {})) for name in names]
    told += [
        _told_context((models or {}).get(parent, {})) for name in names if (parent := _parent(models, name)) is not None
    ]
    return min((tokens for tokens in told if tokens is not None), default=_CONTEXT_TOKENS)


def _told_context(card: Mapping[str, object]) -> int | None:
    """What vLLM and SGLang, routers, or llama.cpp call it."""
    meta = card.get("meta")
    places = [
        card.get("max_model_len"),
        card.get("context_length"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
    ]
    return next((tokens for tokens in places if type(tokens) is int and tokens >= _LEAST_CONTEXT), None)


def _for_operator(error: TimeoutError | UpstreamError, url: str) -> ServerError:
    """The failure as the person at the terminal needs it: with the address and what the upstream said."""
    if isinstance(error, TimeoutError):
        return UpstreamUnreachable(f"上游 {url} 在 {_PROBE_SECONDS:g} 秒内没有答完试探请求")
    if isinstance(error, UpstreamUnreachable):
        return UpstreamUnreachable(f"连不上上游 {url}：{error.detail}。请确认它已启动，地址、端口和代理设置正确。")
    if not isinstance(error, UpstreamRefused):
        return ServerError(f"上游 {url} 没有正常回答：{error.detail or error}")
    if error.status in (401, 403):
        key = "请设置正确的环境变量 FINTUNNEL_UPSTREAM_API_KEY。"
        return SettingsError(f"上游 {url} 不接受密钥（HTTP {error.status}）。{key}")
    if error.status < 400:
        return SettingsError(f"上游 {url} 把请求重定向到别处（HTTP {error.status}），请改用最终的地址。")
    return SettingsError(f"上游 {url} 拒绝了请求（{error.detail}）。请检查 --upstream 的地址和 --upstream-model。")
