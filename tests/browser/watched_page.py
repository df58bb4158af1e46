"""A page in the real browser, and what it must never do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect


@dataclass
class WatchedPage:
    """`page` is open at `url`. Its console's errors, its uncaught ones and its requests elsewhere are kept.

    `expected`: patterns of console messages that the test provokes, such as the browser's own line for a 401.
    """

    page: Page
    url: str
    screenshots: Path
    expected: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and f"{address.scheme}://{address.netloc}" != self.url:
            self.faults.append(f"request to {request.url}")

    def unexpected(self) -> list[str]:
        return [fault for fault in self.faults if not any(re.search(each, fault) for each in self.expected)]

    def shot(self, name: str) -> None:
        """Keeps a picture of the whole page."""
        self.page.screenshot(path=self.screenshots / f"{name}.png", full_page=True, animations="disabled")

    # --- what a person does --------------------------------------------------------------------------

    def one(self, selector: str, *, has_text: str | None = None) -> Locator:
        return self.page.locator(selector, has_text=has_text)

    def use_key(self, key: str = "right-key") -> None:
        self.page.fill("#key", key)
        self.page.click("#key-form [type=submit]")
        if key == "right-key":
            expect(self.one("#model option[value=tuned]")).to_be_attached()

    def analyze(self, text: str) -> Locator:
        """Types a headline and asks; gives the first answer's card."""
        self.page.fill("#news-form [name=text]", text)
        self.page.click("#news-form .main")
        return self.one("#news .answer").first

    def tab(self, name: str) -> None:
        self.page.click(f"#tab-{name}")

    def width(self) -> int:
        """Pixels that the page takes, more than the window has if it scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))
