"""Whom a comparison asks: the base and its adapters behind one server, a server that runs already, the hosted API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import BASE_ADAPTER, DEFAULT_MODEL_NAME

from fintunnel_training.adapter import ADAPTER_WEIGHTS, Manifest, file_sha256, read_adapter
from fintunnel_training.base import Quantization
from fintunnel_training.calibration.calibration_file import CALIBRATION, read_calibration
from fintunnel_training.comparison.answers import StoredSystem
from fintunnel_training.comparison.result import SystemKind, Training
from fintunnel_training.errors import OptionError
from fintunnel_training.serving import Connect, base_of, own_service, serve_arguments

__all__ = ["Choice", "Source", "System", "sources"]

_TUNED = "tuned"  # the name of an adapter that was given none


@dataclass(frozen=True)
class Choice:
    """What the command line names. `adapters`: folders, or `name=folder`. `upstream`: address, tuned model's name, base
    model's name."""

    adapters: Sequence[str] = ()
    base: str | None = None
    with_base: bool = True
    quantization: Quantization | None = None
    url: str | None = None
    upstream: tuple[str, str, str | None] | None = None
    hosted: bool = False
    allow_unverified: bool = False


@dataclass(frozen=True)
class System:
    """`adapter`: what requests and chats name; None asks for the default (the hosted API has no others)."""

    stored: StoredSystem
    adapter: str | None

    @property
    def name(self) -> str:
        return self.stored.name


@dataclass(frozen=True)
class Source:
    """Systems behind one address. Two of them in one process share the base's memory and its passes."""

    systems: list[System]
    open: Callable[[], AbstractContextManager[Connect]]


def sources(choice: Choice) -> list[Source]:
    """
    Raises:
        FinTunnelError: an adapter folder is damaged, options do not go together, or a server that should run does not.
    """
    found = []
    if choice.upstream is not None:
        found.append(_upstream(choice, *choice.upstream))
    elif choice.adapters or choice.base is not None:
        found += _local(choice)
    if choice.url is not None:
        found.append(_running(choice.url, with_base=choice.with_base))
    if choice.hosted:
        found.append(_hosted())
    return found


def _local(choice: Choice) -> Iterator[Source]:
    """One server for each base that the adapters were made for."""
    folders = _named(choice.adapters)
    manifests = {
        name: read_adapter(folder, allow_unverified=choice.allow_unverified) for name, folder in folders.items()
    }
    groups: dict[tuple[str, Quantization], list[str]] = {}
    for name, manifest in manifests.items():
        base = choice.base or base_of(manifest)
        groups.setdefault((base, choice.quantization or _as_trained(manifest)), []).append(name)
    if not groups and choice.base is not None:
        groups[choice.base, choice.quantization or "nf4"] = []
    for (base, quantization), names in groups.items():
        systems = [_tuned(name, folders[name], manifests[name], base, quantization) for name in names]
        if choice.with_base or not names:
            systems.insert(0, _system("base", "base", base, BASE_ADAPTER, base, quantization))
        given = [f"{name}={folders[name]}" for name in names]
        arguments = serve_arguments(
            given, base, quantization, allow_unverified=choice.allow_unverified, calibrated=True
        )
        yield Source(systems, lambda arguments=arguments: own_service(arguments))  # type: ignore[misc]


def _tuned(name: str, folder: Path, manifest: Manifest | None, base: str, quantization: str) -> System:
    calibration = folder / CALIBRATION
    corrected = file_sha256(calibration) if calibration.is_file() else None
    training, loss_curve = _evidence(name, folder, manifest)
    weights = file_sha256(folder / ADAPTER_WEIGHTS)
    fingerprint = _fingerprint(weights, corrected, base, quantization)
    stored = StoredSystem(fingerprint, name, "tuned", base, name, training, loss_curve)
    return System(stored, name)


def _upstream(choice: Choice, address: str, model: str, base: str | None) -> Source:
    """The adapter's folder, where it is given, only says what the classes mean and corrects the probabilities."""
    if choice.base is not None or len(choice.adapters) > 1:
        raise OptionError("与 --upstream 一起，不用 --base，--adapter 至多一个：上游那个模型的适配器目录")
    arguments = ["--upstream", address, "--upstream-model", model]
    if base is not None:
        arguments += ["--upstream-base", base]
    systems = []
    if base is not None and choice.with_base:
        systems.append(_system("base", "base", base, BASE_ADAPTER, address, base))
    folders = _named(choice.adapters)
    for name, folder in folders.items():
        manifest = read_adapter(folder, allow_unverified=choice.allow_unverified)
        arguments += ["--adapter", f"{name}={folder}"]
        systems.append(_tuned(name, folder, manifest, f"{address} {model}", "upstream"))
    if not folders:
        systems.append(_system(model, "tuned", model, DEFAULT_MODEL_NAME, address, model))
    if choice.allow_unverified:
        arguments.append("--allow-unverified")
    return Source([_by_default(system) for system in systems], lambda: own_service(arguments))


def _by_default(system: System) -> System:
    """An upstream server knows its model by its own name; ours knows it as the default."""
    return system if system.stored.kind == "base" else System(system.stored, None)


def _running(url: str, *, with_base: bool) -> Source:
    """All models of a server that runs already (key: `FINTUNNEL_API_KEY`)."""

    def connect(model: str | None) -> DeepSeekClient:
        return DeepSeekClient(backend="finetuned", url=url, model=model)

    with connect(None) as client:
        check = client.check()
    names = [name for name in check.models if name != DEFAULT_MODEL_NAME]
    systems = [
        _system(name, "base" if name == BASE_ADAPTER else "tuned", check.base, name, check.url, check.base, name)
        for name in sorted(names, key=lambda name: name != BASE_ADAPTER)
        if with_base or name != BASE_ADAPTER
    ]
    return Source(systems, lambda: _connecting(connect))


def _hosted() -> Source:
    def connect(model: str | None) -> DeepSeekClient:
        del model  # it has the one that DEEPSEEK_MODEL names
        return DeepSeekClient(backend="deepseek")

    with connect(None) as client:  # a missing key is told before anything is asked
        model, url = client.model, client.url
    return Source([_system(model, "hosted", model, None, url, model)], lambda: _connecting(connect))


@contextmanager
def _connecting(connect: Connect) -> Iterator[Connect]:
    yield connect


def _system(name: str, kind: SystemKind, model: str, adapter: str | None, *identity: str) -> System:
    shown = adapter if kind == "tuned" else None
    return System(StoredSystem(_fingerprint(kind, *identity), name, kind, model, shown), adapter)


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps([PROMPT_VERSION, *parts]).encode()).hexdigest()


def _named(given: Sequence[str]) -> dict[str, Path]:
    """Folders by the names that the report calls them."""
    named: dict[str, Path] = {}
    for each in given:
        name, separator, folder = each.partition("=")
        if not separator or Path(each).is_dir():
            folder = each
            name = _TUNED if len(given) == 1 else Path(each).resolve().name
        if not name or not folder or name in (BASE_ADAPTER, DEFAULT_MODEL_NAME) or name in named:
            raise OptionError(
                f"--adapter {each}：请写成 名字=目录，名字各不相同，也不是 {BASE_ADAPTER}、{DEFAULT_MODEL_NAME}"
            )
        named[name] = Path(folder)
    return named


def _as_trained(manifest: Manifest | None) -> Quantization:
    return "none" if manifest is not None and manifest.quantization == "none" else "nf4"


def _evidence(name: str, folder: Path, manifest: Manifest | None) -> tuple[Training, bytes | None]:
    """What the folder says of how the adapter came to be, and its loss curve (PNG)."""
    calibration = read_calibration(folder)
    curve = folder / "loss_curve.png"
    training = Training(
        system=name,
        folder=folder.name,
        info=_json_object(folder / "training_info.json"),
        calibration=None if calibration is None else calibration.model_dump(mode="json"),
        loss_curve=None,
        adapter_bytes=(folder / ADAPTER_WEIGHTS).stat().st_size,
        edges=None if manifest is None or manifest.edges is None else manifest.edges.model_dump(mode="json"),
        splits={} if manifest is None else manifest.splits,
    )
    return training, curve.read_bytes() if curve.is_file() else None


def _json_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
