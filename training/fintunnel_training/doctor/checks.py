"""All checks in their order, and the conclusion: what can be trained here.

A failure of what every training needs blocks. The others (no GPU, too little of its memory, no hub) only decide
between a 7B base and the embedded one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from fintunnel_training.base import DEFAULT_HUB_BASE, EMBEDDED
from fintunnel_training.doctor import hardware, network, storage
from fintunnel_training.doctor.base_model import BaseState, base_state, embedded_is_installed, offline_variable
from fintunnel_training.doctor.findings import Check, Finding, guarded
from fintunnel_training.doctor.four_bits import four_bits
from fintunnel_training.doctor.libraries import libraries
from fintunnel_training.doctor.tokens import tokens

__all__ = ["Conclusion", "conclude", "run_checks"]

_GPU, _GPU_MEMORY, _BASE, _HUB_CACHE, _HUB = "GPU", "显存", "基座", "模型缓存", "Hugging Face"


@dataclass(frozen=True)
class Conclusion:
    """`ok`: something can be trained here, be it only the embedded base."""

    ok: bool
    text: str


def run_checks(base: str | None, *, offline: bool) -> Iterator[Check]:
    """Yield every check as it is done. `base` None: what `fintunnel train` would take here."""
    yield guarded("Python", hardware.python, required=True)
    if sys.platform == "win32":
        yield guarded("Windows", hardware.windows)
    driver = hardware.nvidia_driver()
    torch = hardware.import_torch()
    yield guarded("torch", lambda: hardware.torch_build(torch, driver), required=True)
    yield guarded("依赖库", libraries, required=True)
    yield guarded("4-bit", lambda: four_bits(torch), required=True)

    chosen = base or (EMBEDDED if torch.capability is None else DEFAULT_HUB_BASE)
    yield guarded(_GPU, lambda: hardware.gpu(torch, driver))
    if torch.capability is not None:
        yield guarded(_GPU_MEMORY, lambda: hardware.gpu_memory(torch, chosen))
    yield guarded("内存", hardware.memory)

    states: list[BaseState] = []

    def look_for_base() -> Finding:
        states.append(base_state(chosen))
        return states[0].finding

    yield guarded(_BASE, look_for_base, required=base is not None)
    to_download = any(state.to_download for state in states)
    yield guarded(_HUB_CACHE, partial(storage.hub_cache_room, to_download))
    yield guarded(
        "fintunnel 缓存", partial(storage.fintunnel_cache_room, chosen == EMBEDDED), required=chosen == EMBEDDED
    )
    yield guarded("当前目录", storage.current_folder, required=True)
    yield guarded("令牌", tokens)
    if not offline:
        yield guarded(_HUB, partial(_hub, to_download))


def _hub(needed: bool) -> Finding:
    variable = offline_variable()
    if variable:
        return Finding("ok", f"未检查（{variable} 禁止联网）")
    finding = network.hub()
    if finding.status == "failure" and not needed:
        return Finding("warning", f"{finding.found}（要用的基座已在本机，不影响训练）", finding.advice)
    return finding


def conclude(checks: Sequence[Check], base: str | None) -> Conclusion:
    """From the checks of `run_checks(base, …)`."""
    statuses = {check.name: check.status for check in checks}
    blocking = [check.name for check in checks if check.blocks]
    if blocking:
        return Conclusion(False, f"现在还不能训练：请先解决 {'、'.join(blocking)}。")
    on_gpu = statuses.get(_GPU) == "ok"
    lacking = [name for name in (_GPU_MEMORY, _BASE, _HUB_CACHE, _HUB) if statuses.get(name) == "failure"]
    chosen = base or (DEFAULT_HUB_BASE if on_gpu else EMBEDDED)
    if not lacking:
        return Conclusion(True, _possible(chosen, on_gpu, gpu_memory_short=statuses.get(_GPU_MEMORY) == "warning"))
    reasons = "、".join(lacking)
    if base is None and chosen != EMBEDDED and embedded_is_installed():
        return Conclusion(True, f"还不能训练 {chosen}（{reasons}），但可用内置小模型走通流程：加 --base embedded。")
    return Conclusion(False, f"现在还不能训练 {chosen}：请先解决 {reasons}。")


def _possible(chosen: str, on_gpu: bool, *, gpu_memory_short: bool) -> str:
    if on_gpu:
        short = "，但显存偏紧" if gpu_memory_short else ""
        return f"可以训练：在 GPU 上用 4-bit 训练 {chosen}{short}。"
    if chosen == EMBEDDED:
        return "不能在 GPU 上训练，但可用内置小模型走通流程；7B 请用 Colab T4。"
    return f"可以训练，但没有 GPU：在 CPU 上训练 {chosen} 会很慢，7B 请用 Colab T4。"
