"""Loads a base and its adapters into an engine in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fintunnel_training.adapter import check_base, read_adapter
from fintunnel_training.base import LoadedBase, Quantization, load_base
from fintunnel_training.merging import merge_weights, quantize

from fintunnel_server.local_engine import EngineLimits, LocalEngine, about_adapter, check_name

__all__ = ["load_local_engine", "load_merged_engine"]


def load_local_engine(
    base: str,
    adapters: Mapping[str, Path],
    *,
    quantization: Quantization = "nf4",
    limits: EngineLimits | None = None,
    allow_unverified: bool = False,
    calibrated: bool = True,
) -> LocalEngine:
    """Load a base and, on top of it, adapter folders by name; the first one is the default.

    Args:
        calibrated: correct the probabilities where a folder holds a `calibration.json`.

    Raises:
        AdapterError: a folder is incomplete, altered, or made for another base or prompt.
        BaseModelError: the base cannot be found, loaded or served.
    """
    for name in adapters:
        check_name(name)  # before the base, which takes its time
    engine = LocalEngine(lambda: load_base(base, quantization), limits or EngineLimits())
    try:
        for name, folder in adapters.items():
            engine.load_adapter(name, folder, allow_unverified=allow_unverified, calibrated=calibrated)
    except BaseException:
        engine.stop()
        raise
    return engine


def load_merged_engine(
    base: str,
    name: str,
    folder: Path,
    *,
    quantization: Quantization = "nf4",
    limits: EngineLimits | None = None,
    allow_unverified: bool = False,
    calibrated: bool = True,
) -> LocalEngine:
    """Load a base with an adapter merged into its weights, in 16 bits before they are quantised: a pass has less to do,
    and the base cannot be asked without the adapter.

    Raises:
        AdapterError, BaseModelError: as `load_local_engine`.
    """
    check_name(name)
    manifest = read_adapter(folder, allow_unverified=allow_unverified)

    def load() -> LoadedBase:
        loaded = load_base(base, "none")
        if manifest is not None:
            check_base(manifest, loaded.info)
        merged = replace(loaded, model=merge_weights(loaded, folder))
        return quantize(merged) if quantization == "nf4" else merged

    return LocalEngine(load, limits or EngineLimits(), merged={name: about_adapter(manifest, folder, calibrated)})
