"""The lines that are printed when a tunnel has opened: pasted into a real bash, they do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fintunnel_server.errors import SettingsError
from fintunnel_server.tunnel import check_connection_file
from fintunnel_server.tunnel.announcement import announcement

from tests.live_app import LiveApp

NGROK, CLOUDFLARE = "https://mine.ngrok-free.dev", "https://some-words.trycloudflare.com"


def after(title: str, url: str) -> str:
    lines = announcement(url).splitlines()
    return lines[lines.index(title) + 1].strip()


def bash(script: str, **environment: str) -> str:
    program = shutil.which("bash")
    if program is None:
        pytest.skip("no bash here")
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        [program, "-c", script], env={**path, **environment}, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_keys_and_placeholders_do_not_stand_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEY", "the-key-itself")
    for url in (NGROK, CLOUDFLARE):
        text = announcement(url)
        assert "the-key-itself" not in text and not re.search(r"<|FINTUNNEL_API_KEY=", text)
        assert "$FINTUNNEL_API_KEY" in text and "$env:FINTUNNEL_API_KEY" in text


def test_ngroks_warning_page_is_skipped_and_only_ngroks() -> None:
    assert announcement(NGROK).count("ngrok-skip-browser-warning") == 2
    assert "ngrok" not in announcement(CLOUDFLARE)


def test_curl_line_pasted_into_bash_brings_an_analysis(live_app: LiveApp) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    for url in (NGROK, CLOUDFLARE):
        line = after("bash，试一下：", url).replace(url, live_app.url)
        answer = json.loads(bash(line, FINTUNNEL_API_KEY="right-key", no_proxy="127.0.0.1"))
        assert answer["task"] == "news" and answer["impact_probs"]
        refused = json.loads(bash(line, FINTUNNEL_API_KEY="wrong-key", no_proxy="127.0.0.1"))
        assert refused["error"]["code"] == "invalid_api_key"


def test_bash_lines_point_an_agent_at_it() -> None:
    script = after("bash，让智能体用它：", NGROK) + "; env | grep ^FINTUNNEL_ | sort"
    assert bash(script).split() == ["FINTUNNEL_BACKEND=finetuned", f"FINTUNNEL_URL={NGROK}"]


def test_powershell_lines_send_utf8_and_quote_what_they_must() -> None:
    assert after("PowerShell，让智能体用它：", NGROK) == (
        f'$env:FINTUNNEL_BACKEND="finetuned"; $env:FINTUNNEL_URL="{NGROK}"'
    )
    line = after("PowerShell，试一下：", NGROK)
    body = re.search(r"-Body \(\[Text\.Encoding\]::UTF8\.GetBytes\('([^']*)'\)\)$", line)
    assert body is not None and json.loads(body[1])["task"] == "news"
    assert '@{"Authorization"="Bearer $env:FINTUNNEL_API_KEY"; "ngrok-skip-browser-warning"="1"}' in line


def test_place_for_the_connection_file_is_checked(tmp_path: Path) -> None:
    check_connection_file(tmp_path / "connection.json")
    assert not list(tmp_path.iterdir())
    for path, said in ((tmp_path / "absent" / "c.json", "先建好目录"), (tmp_path, "要是一个文件")):
        with pytest.raises(SettingsError, match=said):
            check_connection_file(path)
