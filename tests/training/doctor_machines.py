"""The command as a program reads it, and machines to try it on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from fintunnel.cli import main
from fintunnel_training.doctor.hardware import Torch

Found = dict[str, dict[str, str]]
T4 = "Tesla T4（驱动 550.54）"


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Found, bool]:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--json", *arguments])
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"checks", "ok"}
    return int(caught.value.code or 0), {check["name"]: check for check in report["checks"]}, report["ok"]


def gpu_torch(capability: tuple[int, int] = (7, 5), free: float = 14.6, total: float = 14.7) -> Torch:
    cuda = SimpleNamespace(
        device_count=lambda: 1,
        get_device_name=lambda _: "Tesla T4",
        get_device_capability=lambda _: capability,
        mem_get_info=lambda _: (int(free * 2**30), int(total * 2**30)),
    )
    module = SimpleNamespace(__version__="2.9.0+cu128", version=SimpleNamespace(cuda="12.8"), cuda=cuda)
    return Torch(module, capability=capability)


def cpu_torch(version: str = "2.9.0+cpu", cuda: str | None = None, complaint: str = "") -> Torch:
    module = SimpleNamespace(__version__=version, version=SimpleNamespace(cuda=cuda), cuda=None)
    return Torch(module, complaint=complaint)
