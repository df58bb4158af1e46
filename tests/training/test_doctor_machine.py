from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from fintunnel_training.base import DEFAULT_HUB_BASE
from fintunnel_training.doctor import four_bits, hardware
from fintunnel_training.doctor.findings import Finding, Status
from fintunnel_training.doctor.hardware import Torch, import_torch
from fintunnel_training.doctor.libraries import is_older, libraries, lower_bound

from tests.training.doctor_machines import T4, cpu_torch, gpu_torch

# Python, torch and the GPU


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.python().status == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 9, "final", 0))
    assert hardware.python().status == "failure"


def test_a_32_bit_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert "32 位" in hardware.python().found and hardware.python().status == "failure"


def test_a_cpu_build_beside_an_nvidia_gpu_says_how_to_replace_it() -> None:
    finding = hardware.torch_build(cpu_torch(), T4)
    assert finding.status == "warning" and T4 in finding.found
    assert "pip uninstall -y torch" in finding.advice and "--index-url https://download.pytorch.org" in finding.advice
    assert hardware.torch_build(cpu_torch(), None).status == "ok"
    assert "CPU 版" in hardware.gpu(cpu_torch(), T4).found


def test_torch_older_than_the_bound_fails() -> None:
    assert hardware.torch_build(cpu_torch("2.1.0+cpu"), None).status == "failure"
    assert hardware.torch_build(gpu_torch(), T4) == Finding("ok", "2.9.0+cu128，CUDA 12.8")


def test_missing_torch_beside_a_gpu_gets_the_cuda_build_first() -> None:
    missing = Torch(None, ModuleNotFoundError("No module named 'torch'", name="torch"))
    advice = hardware.torch_build(missing, T4).advice
    assert 0 < advice.index("--index-url") < advice.index("fintunnel[training]")
    assert "--index-url" not in hardware.torch_build(missing, None).advice


def test_a_torch_that_cannot_load_its_libraries_names_the_runtime_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Torch(None, OSError("[WinError 126] 找不到指定的模块。 Error loading fbgemm.dll"))
    monkeypatch.setattr(sys, "platform", "win32")
    finding = hardware.torch_build(broken, None)
    assert finding.status == "failure" and "fbgemm.dll" in finding.found and "vc_redist" in finding.advice


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 6), "bf16")])
def test_the_gpu_is_named_with_its_capability_and_precision(capability: tuple[int, int], precision: str) -> None:
    finding = hardware.gpu(gpu_torch(capability), T4)
    assert finding.status == "ok" and f"算力 {capability[0]}.{capability[1]}" in finding.found
    assert finding.found.endswith(f"精度 {precision}")


def test_a_driver_too_old_for_torch_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = hardware.gpu(cpu_torch(cuda="12.8", complaint="The NVIDIA driver on your system is too old"), T4)
    assert finding.status == "warning" and "too old" in finding.found and "驱动" in finding.advice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES" in hardware.gpu(cpu_torch(cuda="12.8"), T4).found


@pytest.mark.parametrize(
    ("free", "total", "base", "status"),
    [
        (14.6, 14.7, DEFAULT_HUB_BASE, "ok"),
        (7.5, 8.0, DEFAULT_HUB_BASE, "warning"),
        (1.7, 2.0, DEFAULT_HUB_BASE, "failure"),
        (3.0, 14.7, DEFAULT_HUB_BASE, "failure"),
        (2.5, 4.0, "embedded", "ok"),
        (1.0, 1.9, "embedded", "warning"),
    ],
)
def test_gpu_memory_is_judged_by_the_base(free: float, total: float, base: str, status: Status) -> None:
    finding = hardware.gpu_memory(gpu_torch(free=free, total=total), base)
    assert finding.status == status
    assert ("nvidia-smi" in finding.advice) == (total > 9 and status != "ok")


def test_nvidia_smi_is_asked_and_its_failure_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(stdout="NVIDIA GeForce MX570, 531.79\n")

    def fail(*_: object, **__: object) -> SimpleNamespace:
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.setattr(subprocess, "run", answer)
    assert hardware.nvidia_driver() == "NVIDIA GeForce MX570（驱动 531.79）"
    monkeypatch.setattr(subprocess, "run", fail)
    assert hardware.nvidia_driver() is None


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    state = SimpleNamespace(available=2 * 2**30, total=16 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: state)
    assert hardware.memory().status == "warning" and "2.0 / 16.0 GiB" in hardware.memory().found


@pytest.mark.parametrize(("enabled", "status"), [(1, "ok"), (0, "warning")])
def test_long_paths_are_looked_up_on_windows(monkeypatch: pytest.MonkeyPatch, enabled: int, status: Status) -> None:
    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE=0,
        OpenKey=lambda *_: contextmanager(lambda: iter([0]))(),
        QueryValueEx=lambda *_: (enabled, 4),
    )
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(sys, "platform", "win32")
    assert hardware.windows().status == status


# 4 bits


def test_four_bits_really_run() -> None:
    finding = four_bits.four_bits(import_torch())
    assert finding.status == "ok" and not finding.advice


def test_a_wrong_product_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes
    import torch

    torch_state = import_torch()
    right = bitsandbytes.nn.Linear4bit.forward
    for wrong in (2.0, float("nan")):
        monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", lambda self, x, by=wrong: right(self, x) * by)
        finding = four_bits.four_bits(torch_state)
        assert finding.status == "failure" and "bitsandbytes" in finding.advice

    # Right forward, no gradient through the layer: the adapter would not learn.
    monkeypatch.setattr(
        bitsandbytes.nn.Linear4bit, "forward", lambda self, x: right(self, x).detach() + 0 * x.sum() * torch.ones(())
    )
    assert four_bits.four_bits(torch_state).status == "failure"


def test_a_layer_that_stays_wide_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes

    monkeypatch.setattr(bitsandbytes.nn.Params4bit, "to", lambda self, *_, **__: self)
    assert four_bits.four_bits(import_torch()).status == "failure"


def test_a_gpu_without_kernels_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_kernels(*_: object) -> tuple[float, float]:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(four_bits, "_relative_errors", no_kernels)
    finding = four_bits.four_bits(import_torch())
    assert finding.status == "failure" and "内核" in finding.advice


# Libraries


def test_an_old_library_fails_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    assert libraries().status == "ok"
    monkeypatch.setattr(
        "fintunnel_training.doctor.libraries.version", lambda name: "0.41.3" if name == "bitsandbytes" else real(name)
    )
    finding = libraries()
    least = lower_bound("bitsandbytes")
    assert least and finding.found == f"bitsandbytes 0.41.3 太旧（需要 {least} 以上）"
    assert "fintunnel[training]" in finding.advice


def test_a_missing_library_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def installed(name: str) -> str:
        if name == "trl":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("fintunnel_training.doctor.libraries.version", installed)
    assert libraries().found == "没有安装 trl"


def test_every_needed_library_has_a_bound() -> None:
    from fintunnel_training.doctor.libraries import _NEEDED

    assert all(lower_bound(name) for name in (*_NEEDED, "torch"))


@pytest.mark.parametrize(
    ("installed", "least", "older"),
    [
        ("2.13.0+cpu", "2.6", False),
        ("2.5.1+cu121", "2.6", True),
        ("0.9", "0.19", True),
        ("2.0.0", "2.0", False),
        ("2", "2.0.0", False),
        ("5.20.0.dev0", "5.20", False),
        ("4.57.1", "5.20", True),
    ],
)
def test_versions_compare_as_numbers(installed: str, least: str, older: bool) -> None:
    assert is_older(installed, least) is older
