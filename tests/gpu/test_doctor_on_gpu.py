"""What `fintunnel doctor` says of a GPU that is there."""

from __future__ import annotations

import pytest
import torch
from fintunnel_training.doctor.checks import run_checks

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


def test_the_gpu_and_its_4_bits_are_found() -> None:
    checks = {check.name: check for check in run_checks("embedded", offline=True)}
    for name in ("torch", "4-bit", "GPU", "显存", "基座"):
        assert checks[name].status == "ok", checks[name]
    assert torch.cuda.get_device_name(0) in checks["GPU"].found
