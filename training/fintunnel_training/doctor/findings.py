"""What a check says, and the guard that turns an exception inside one into its finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fintunnel.terminal_text import printable

__all__ = ["INSTALL", "Check", "Finding", "Status", "first_line", "guarded"]

Status = Literal["ok", "warning", "failure"]

INSTALL = 'python -m pip install -U "fintunnel[training]"'
_LONGEST = 200  # characters quoted of an error


@dataclass(frozen=True)
class Finding:
    """`advice`: one line on what to do; empty only where nothing is to be done."""

    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Check:
    """A finding under its name. `blocks`: no training at all before this is mended."""

    name: str
    status: Status
    found: str
    advice: str
    blocks: bool = False

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "found": self.found, "advice": self.advice}


def guarded(name: str, look: Callable[[], Finding], *, required: bool = False) -> Check:
    """Run one check. Whatever it raises becomes its own failure, so that the others still run."""
    try:
        finding = look()
    except ModuleNotFoundError as error:
        finding = Finding("failure", f"没有安装 {error.name}", f"请运行：{INSTALL}")
    except Exception as error:  # broken installations raise whatever they meet
        finding = Finding(
            "failure",
            f"检查时出错：{type(error).__name__}: {first_line(error)}",
            f"请重装依赖再试：{INSTALL}；仍然出错，请带上这一行提交 issue。",
        )
    blocks = required and finding.status == "failure"
    found, advice = (printable(text).replace("\n", "\\n") for text in (finding.found, finding.advice))
    return Check(name, finding.status, found, advice, blocks)


def first_line(error: BaseException | str) -> str:
    """The first line that says something, shortened: model libraries put whole manuals into their errors."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "（没有说明）")
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
