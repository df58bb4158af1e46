"""Who is asked: from a client's arguments and the environment to its backends. Nothing is sent here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, TypedDict

from pydantic import SecretStr

from fintunnel.api_key import clean_key
from fintunnel.backends.address import own_server_address
from fintunnel.backends.hosted_api import HostedApi
from fintunnel.backends.own_server import OwnServer
from fintunnel.errors import ConfigurationError
from fintunnel.settings import Backend, ClientSettings, load_settings
from fintunnel.transport.http_clients import checked_url
from fintunnel.transport.target import Advice, FixedAddress, Target, Timeouts
from fintunnel.wire import DEFAULT_MODEL_NAME

__all__ = ["MOST_RETRIES", "Choice", "Options", "checked_retries", "checked_seconds", "choose"]

_A_DAY = 86_400.0
MOST_RETRIES = 10
_RETIRED = {"deepseek-chat": "deepseek-flash", "deepseek-reasoner": "deepseek-v4-pro"}  # since 2026-07-24
_OWN_ROUTES = ("/analyze/batch", "/analyze/stream", "/analyze", "/v1/chat/completions", "/v1/models", "/v1")
_OWN_ADVICE = Advice(
    unreachable="请确认 fintunnel serve 已就绪、地址正确。",
    slow="请确认 fintunnel serve 已就绪；模型较慢时请调大 FINTUNNEL_TIMEOUT。",
    key="请检查 FINTUNNEL_API_KEY，它要与服务那边的一样。",
    no_key="服务要密钥：请把 FINTUNNEL_API_KEY 设成服务那边的那一个。",
)
_HOSTED_ADVICE = Advice(
    unreachable="请检查网络、代理和 DEEPSEEK_BASE_URL。",
    slow="请检查网络和代理，或调大 FINTUNNEL_TIMEOUT。",
    key="请检查 DEEPSEEK_API_KEY。",
    no_key="请设置 DEEPSEEK_API_KEY。",
)


class Options(TypedDict, total=False):
    """A client's arguments, as `ClientBase` documents them; None counts as not given."""

    backend: Backend | None
    url: str | None
    api_key: str | None
    model: str | None
    timeout: float | None
    connect_timeout: float | None
    read_timeout: float | None
    max_retries: int | None
    fallback: Literal["deepseek"] | None
    http2: bool


@dataclass(frozen=True)
class Choice:
    """`backend`: who is asked. `fallback`: who is asked where that fails."""

    backend: OwnServer | HostedApi
    fallback: HostedApi | None


def choose(options: Options) -> Choice:
    """
    Raises:
        ConfigurationError: an unknown backend, an unusable address or number, or no key for the hosted API.
    """
    settings = load_settings()
    backend = options.get("backend") or settings.backend
    fallback = options.get("fallback") or settings.fallback
    if backend not in ("deepseek", "finetuned"):
        raise ConfigurationError(f"backend {backend!r} 无效，只能是 deepseek 或 finetuned")
    if fallback not in (None, "deepseek"):
        raise ConfigurationError(f"fallback {fallback!r} 无效，只能是 deepseek")
    timeouts = _timeouts(options, settings)
    retries = checked_retries(options.get("max_retries"), settings.max_retries)
    if backend == "deepseek":
        if options.get("fallback") is not None:
            raise ConfigurationError("fallback 是给 finetuned 的：deepseek 没有别的可换")
        return Choice(_hosted(options, settings, timeouts, retries), None)  # FINTUNNEL_FALLBACK waits for the other
    own = _own(options, settings, timeouts, retries)
    if fallback is None:
        return Choice(own, None)
    # What was given for the own server is none of the hosted API's business.
    other = Options(http2=options.get("http2", False))
    return Choice(own, _hosted(other, settings, timeouts, retries, as_fallback=True))


def _own(options: Options, settings: ClientSettings, timeouts: Timeouts, retries: int) -> OwnServer:
    given = options.get("url") or settings.url
    url = None if given is None else _without_route(given, _OWN_ROUTES, "FINTUNNEL_URL")
    target = Target(
        name="FINTUNNEL_URL",
        address=own_server_address(url, settings.connection_file, settings.ngrok_api_key),
        api_key=_key(options.get("api_key")) or settings.api_key,
        timeouts=timeouts,
        max_retries=retries,
        advice=_OWN_ADVICE,
        tunnelled=True,
        http2=options.get("http2", False),
    )
    return OwnServer(target, options.get("model") or DEFAULT_MODEL_NAME)


def _hosted(
    options: Options, settings: ClientSettings, timeouts: Timeouts, retries: int, *, as_fallback: bool = False
) -> HostedApi:
    api_key = _key(options.get("api_key")) or settings.deepseek_api_key
    if api_key is None:
        if as_fallback:
            raise ConfigurationError(
                "由 deepseek 代答需要 DEEPSEEK_API_KEY", advice="请设置它，或去掉 FINTUNNEL_FALLBACK。"
            )
        if settings.url or settings.connection_file:  # the likeliest slip
            raise ConfigurationError(
                "设了自己服务的地址，但 FINTUNNEL_BACKEND 不是 finetuned",
                advice="请设 FINTUNNEL_BACKEND=finetuned；要用官方 API 则设置 DEEPSEEK_API_KEY。",
            )
        raise ConfigurationError(
            "没有 DEEPSEEK_API_KEY", advice="请设置它，或用 FINTUNNEL_BACKEND=finetuned 换成自己的模型。"
        )
    url = _without_route(options.get("url") or settings.deepseek_url, ("/chat/completions",), "DEEPSEEK_BASE_URL")
    target = Target(
        name="DEEPSEEK_BASE_URL",
        address=FixedAddress(url),
        api_key=api_key,
        timeouts=timeouts,
        max_retries=retries,
        advice=_HOSTED_ADVICE,
        tunnelled=False,
        http2=options.get("http2", False),
    )
    return HostedApi(target, _current(options.get("model") or settings.deepseek_model), as_fallback)


def _current(model: str) -> str:
    if model not in _RETIRED:
        return model
    # Seen by default, unlike a DeprecationWarning: whoever runs the agent is to know which model answers.
    warnings.warn(f"模型 {model} 已停用，改用 {_RETIRED[model]}", FutureWarning, stacklevel=2)
    return _RETIRED[model]


def _without_route(url: str, routes: tuple[str, ...], variable: str) -> str:
    """The base address, also where the address of a route was given; old agents have it whole."""
    checked = str(checked_url(url, variable)).rstrip("/")
    for route in routes:
        checked = checked.removesuffix(route)
    return checked.rstrip("/")


def _key(given: str | None) -> SecretStr | None:
    if not given:
        return None
    try:
        return SecretStr(clean_key(given))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _timeouts(options: Options, settings: ClientSettings) -> Timeouts:
    given = {
        "timeout": options.get("timeout"),
        "connect_timeout": options.get("connect_timeout"),
        "read_timeout": options.get("read_timeout"),
    }
    for name, seconds in given.items():
        checked_seconds(seconds, 1.0, name)
    usual = Timeouts()
    return Timeouts(
        connect=options.get("connect_timeout") or settings.connect_timeout or usual.connect,
        read=options.get("read_timeout") or settings.read_timeout,
        total=options.get("timeout") or settings.timeout or usual.total,
    )


def checked_seconds(given: float | None, usual: float, name: str = "timeout_seconds") -> float:
    """`given`, or `usual` where none was.

    Raises:
        ConfigurationError: not a number of seconds above 0, up to a day.
    """
    if given is None:
        return usual
    if not (isinstance(given, int | float) and 0 < given <= _A_DAY):
        raise ConfigurationError(f"{name} 应大于 0 秒，不超过一天，不是 {given}")
    return float(given)


def checked_retries(given: int | None, usual: int) -> int:
    """As `checked_seconds`; from 0 to 10."""
    if given is None:
        return usual
    if not (isinstance(given, int) and 0 <= given <= MOST_RETRIES):
        raise ConfigurationError(f"max_retries 应在 0 到 {MOST_RETRIES} 之间，不是 {given}")
    return given
