"""Takes the READMEs' pictures from what `python run.py demo` left: the web page, a comparison's report, the loss curve.

    python tools/make_screenshots.py

Needs `demo/`, and Chromium, Chrome or Edge. Nothing in the pictures is made up: a server with the demo's adapter
answers, and `fintunnel compare` writes the report. Takes about three minutes on two cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fintunnel.local_server import LocalServer
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script, only this folder is there
    sys.path.insert(0, str(ROOT))

from tests.browser.executable import find_browser  # noqa: E402

DEMO = ROOT / "demo"
IMAGES = ROOT / "docs" / "images"
HEADLINE = "美国9月CPI年率3.0%，低于预期的3.1%，前值2.9%"
LOCALES = {"zh": "zh-CN", "en": "en-US"}
_WIDE = {"width": 1180, "height": 900}
_ROWS = ("--rows", "30", "--texts", "4")


def main() -> int:
    if not (DEMO / "adapter").is_dir():
        sys.stderr.write("没有 demo/adapter，请先运行：python run.py demo --exit\n")
        return 2
    IMAGES.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO / "adapter" / "loss_curve.png", IMAGES)
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        flags = ["--disable-background-networking", "--no-proxy-server", *root]
        browser = playwright.chromium.launch(executable_path=find_browser(), args=flags)
        page_pictures(browser, Path(folder))
        report_pictures(browser, Path(folder))
        browser.close()
    return 0


def page_pictures(browser: Browser, folder: Path) -> None:
    arguments = ["--base", "embedded", "--adapter", str(DEMO / "adapter")]
    with LocalServer(arguments, log=folder / "server.log", environment={"FINTUNNEL_API_KEY": ""}) as server:
        server.wait_until_ready()
        for language, locale in LOCALES.items():
            page = browser.new_page(viewport=_WIDE, locale=locale, color_scheme="light")  # type: ignore[arg-type]
            page.goto(server.url)
            page.select_option("#compare", "base")
            page.fill("#news-form [name=text]", HEADLINE)
            page.click("#news-form .main")
            page.locator("#news .answer .written").nth(1).wait_for(timeout=120_000)
            page.locator("#news-form .stop").wait_for(state="hidden", timeout=120_000)
            page.screenshot(path=IMAGES / f"page.{language}.png", animations="disabled")
            page.close()


def report_pictures(browser: Browser, folder: Path) -> None:
    for language in LOCALES:
        out = folder / "comparison"
        subprocess.run(
            [sys.executable, "-m", "fintunnel", "compare", "--data", str(DEMO / "instructions.jsonl"),
             "--adapter", str(DEMO / "adapter"), "--out", str(out), "--language", language, *_ROWS],
            check=True,
        )  # fmt: skip
        page = browser.new_page(viewport=_WIDE, color_scheme="light")  # type: ignore[arg-type]
        page.goto((out / "report.html").as_uri())
        page.screenshot(path=IMAGES / f"report.{language}.png")
        page.close()


if __name__ == "__main__":
    raise SystemExit(main())
