"""Python, torch, the GPU and the memory, as training would find them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import Any

from fintunnel_training.base import DEFAULT_HUB_BASE, EMBEDDED, select_precision
from fintunnel_training.doctor.findings import INSTALL, Finding, first_line
from fintunnel_training.doctor.libraries import is_older, lower_bound

__all__ = ["Torch", "gpu", "gpu_memory", "import_torch", "memory", "nvidia_driver", "python", "torch_build", "windows"]

_PYTHON = (3, 11)
# CUDA 12.8 wheels cover a T4 as well as an RTX 50, and run on any driver of CUDA 12.
_INSTALL_CUDA = "python -m pip install torch --index-url https://download.pytorch.org/whl/cu128"
# Without the first command pip takes the CPU build for good enough.
_CUDA_TORCH = f"请先运行 python -m pip uninstall -y torch，再运行：{_INSTALL_CUDA}"
_COLAB = f"训练 {DEFAULT_HUB_BASE.split('/')[1]} 请用 Colab（代码执行程序 → 更改运行时类型 → T4 GPU）"
_TO_SPARE_7B = 9.0  # GiB: NF4 QLoRA of a 7B model, rows of 512 tokens in batches of 4
_LEAST_7B = 6.0  # GiB: 4.5 of weights, 1.7 of embeddings and head in 16 bits; below, not even one row fits
_TO_SPARE_EMBEDDED = 2.0
_RAM = 4.0  # GiB: torch, the libraries and one shard of a 7B model, or the embedded model in training


@dataclass(frozen=True)
class Torch:
    """What importing torch gave: the module or the error, and the GPU's compute capability, if it has one to use.

    `complaint` is what torch says about a GPU that it cannot use.
    """

    module: Any | None
    error: Exception | None = None
    capability: tuple[int, int] | None = None
    complaint: str = ""


def import_torch() -> Torch:
    """Import torch once for all checks; a damaged installation raises more than ImportError."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            import torch
        except Exception as error:
            return Torch(None, error)
        try:
            if torch.cuda.is_available():
                major, minor = torch.cuda.get_device_capability()
                return Torch(torch, capability=(int(major), int(minor)))
        except Exception as error:
            return Torch(torch, complaint=first_line(error))
    # A driver that is too old is told of in a warning only.
    complaints = [str(warning.message) for warning in caught if "CUDA" in str(warning.message)]
    return Torch(torch, complaint=first_line(complaints[0]) if complaints else "")


def nvidia_driver() -> str | None:
    """The GPUs that NVIDIA's driver lists, with its version; None without a driver or a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, errors="replace", timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    gpus = [line.split(",") for line in listed.stdout.splitlines() if "," in line]
    return "、".join(f"{name.strip()}（驱动 {version.strip()}）" for name, version in gpus) or None


def python() -> Finding:
    bits = 64 if sys.maxsize > 2**32 else 32
    found = f"{platform.python_version()}，{bits} 位，{sys.executable}"
    if tuple(sys.version_info[:2]) < _PYTHON or bits != 64:
        return Finding("failure", found, "请安装 64 位的 Python 3.11 或更高版本，再建一个新的虚拟环境。")
    return Finding("ok", found)


def torch_build(torch: Torch, driver: str | None) -> Finding:
    """Installed, importable, new enough, and built for the GPU that is there."""
    if torch.module is None:
        return _no_torch(torch.error, driver)
    version = str(torch.module.__version__)
    least = lower_bound("torch")
    if least and is_older(version, least):
        return Finding("failure", f"{version}，需要 {least} 以上", _CUDA_TORCH if driver else f"请运行：{INSTALL}")
    if torch.module.version.cuda is not None:
        return Finding("ok", f"{version}，CUDA {torch.module.version.cuda}")
    if torch.capability is not None:  # ROCm presents itself as CUDA
        return Finding("ok", version)
    if driver is not None:
        return Finding("warning", f"{version}，是 CPU 版，用不了 {driver}", _CUDA_TORCH)
    return Finding("ok", f"{version}，CPU 版")


def _no_torch(error: Exception | None, driver: str | None) -> Finding:
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        # In this order: on Windows the extra alone would bring the CPU build.
        first = f"先运行 {_INSTALL_CUDA}，再" if driver else ""
        return Finding("failure", "没有安装", f"请{first}运行：{INSTALL}")
    found = f"无法导入：{type(error).__name__}: {first_line(error) if error else ''}"
    if sys.platform == "win32":
        return Finding(
            "failure", found, "请安装 https://aka.ms/vs/17/release/vc_redist.x64.exe 并重启；仍不行就重装 torch。"
        )
    return Finding("failure", found, "安装不完整：请运行 python -m pip install --force-reinstall torch")


def gpu(torch: Torch, driver: str | None) -> Finding:
    """The GPU that training would use, its compute capability, and the precision that follows from it."""
    if torch.module is None:
        return Finding(
            "warning", f"{driver or '没有发现 NVIDIA GPU'}；未进一步检查（torch 不可用）", "请先装好 torch。"
        )
    cuda = torch.module.cuda
    if torch.capability is None:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if driver is None:
            return Finding("warning", "没有 NVIDIA GPU，训练会在 CPU 上进行", f"{_COLAB}。")
        if torch.module.version.cuda is None:
            return Finding("warning", f"{driver}，但 torch 是 CPU 版", "请按 torch 一行换成 CUDA 版。")
        if hidden is not None:
            return Finding("warning", f"{driver}，被 CUDA_VISIBLE_DEVICES={hidden!r} 遮住", "请删掉这个环境变量。")
        return Finding(
            "warning",
            f"{driver}，但 torch 用不了：{torch.complaint or 'torch.cuda.is_available() 为 False'}",
            "请到 https://www.nvidia.cn/drivers/ 更新显卡驱动并重启。",
        )
    precision = select_precision(torch.capability)
    names = [
        f"{cuda.get_device_name(index)}（算力 {'.'.join(map(str, cuda.get_device_capability(index)))}）"
        for index in range(cuda.device_count())
    ]
    more = f"；只用第一块，另有 {'、'.join(names[1:])}" if names[1:] else ""
    return Finding("ok", f"{names[0]}，精度 {'bf16' if precision.bf16 else 'fp16'}{more}")


def gpu_memory(torch: Torch, base: str) -> Finding:
    """Free memory of the GPU beside what NF4 training needs; bases other than the embedded one count as 7B."""
    if torch.module is None or torch.capability is None:
        return Finding("warning", "未检查（没有可用的 GPU）", "在 CPU 上只适合训练内置小模型（--base embedded）。")
    free, total = (size / 2**30 for size in torch.module.cuda.mem_get_info(0))
    need = _TO_SPARE_EMBEDDED if base == EMBEDDED else _TO_SPARE_7B
    what = "内置小模型" if base == EMBEDDED else "7B、批大小 4、512 token"
    found = f"空闲 {free:.1f} / {total:.1f} GiB，需要约 {need:.0f} GiB（NF4，{what}）"
    if free >= need:
        return Finding("ok", found)
    close = "请关掉占用显存的程序（用 nvidia-smi 查看）" if total >= need else ""
    if base != EMBEDDED and free < _LEAST_7B:
        return Finding("failure", found, f"{close or _COLAB}；或加 --base embedded 用内置小模型走通流程。")
    smaller = "训练时加 --batch-size 2 --max-length 256 可以省一些显存"
    return Finding("warning", found, f"{close}；{smaller}。" if close else f"{smaller}。")


def memory() -> Finding:
    import psutil

    state = psutil.virtual_memory()
    found = f"可用 {state.available / 2**30:.1f} / {state.total / 2**30:.1f} GiB"
    if state.available < _RAM * 2**30:
        return Finding("warning", found, f"少于 {_RAM:.0f} GiB，加载模型时可能被系统结束：请关掉浏览器等程序再训练。")
    return Finding("ok", found)


def windows() -> Finding:
    """Long paths: the hub's cache has file names that go over 260 characters below a deep user folder."""
    if sys.platform != "win32":
        return Finding("ok", "不是 Windows")
    import winreg

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
        try:
            enabled = winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
        except FileNotFoundError:
            enabled = False
    if enabled:
        return Finding("ok", "已支持长路径")
    return Finding(
        "warning",
        "没有打开长路径支持（260 字符上限）",
        "安装或下载时若报找不到文件：请把 HF_HOME 设为 D:\\hf 这样的短路径，或按 "
        "https://learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation 打开。",
    )
