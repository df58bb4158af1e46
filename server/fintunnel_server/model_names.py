"""The names under which requests ask for a model."""

from __future__ import annotations

from fintunnel.wire import BASE_ADAPTER, DEFAULT_MODEL_NAME, ErrorCode

from fintunnel_server.api_errors import ApiError
from fintunnel_server.engine import Engine

__all__ = ["adapter_of", "model_names", "unknown_model"]


def model_names(engine: Engine) -> list[str]:
    """The default model's name first, then those of the adapters, then the base's."""
    info = engine.info
    return [DEFAULT_MODEL_NAME, *info.adapters, *([BASE_ADAPTER] if info.has_base else [])]


def adapter_of(engine: Engine, name: str | None, *, param: str) -> str | None:
    """The adapter that a request's name means (None: the default one); None is the bare base.

    Raises:
        ApiError: 404, there is none of this name.
    """
    info = engine.info
    if name is None:
        return info.default_adapter
    if name == BASE_ADAPTER and info.has_base:
        return None
    if name not in info.adapters:
        raise unknown_model(engine, param)
    return name


def unknown_model(engine: Engine, param: str) -> ApiError:
    return ApiError(404, ErrorCode.UNKNOWN_MODEL, f"没有这个模型，可用的是：{'、'.join(model_names(engine))}", param)
