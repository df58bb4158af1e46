"""What every picture needs: words that the fonts here can show, a figure, a file that is complete or not there.

Words are Chinese where a Chinese font is installed and English elsewhere, never empty boxes.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from fintunnel.atomic_file import replacing_file
from fintunnel.chinese import LABELS_ZH
from fintunnel.terminal_text import system_reason

from fintunnel_training.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Words", "chinese_font", "new_figure", "save_png"]

_FONTS = (
    "Microsoft YaHei",
    "SimHei",
    "DengXian",
    "SimSun",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti TC",
    "STHeiti",
    "Songti SC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # matplotlib sees the first face of the collection alone; it holds the same characters
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "AR PL UMing CN",
    "Arial Unicode MS",
)
_NEEDED = "标签随时间的变化影响程度短线方向利空中性训练集验证测试样本长度构成意外金价反应（，："


_SPLITS = {
    "train": ("训练集", "training"),
    "val": ("验证集", "validation"),
    "test": ("测试集", "test"),
}
_KINDS = {
    "news": ("新闻", "news"),
    "market": ("市场分析", "market"),
    "report": ("财报问答", "report"),
    "other": ("其他", "other"),
}
_STYLES = {
    "json": ("JSON", "JSON"),
    "news_prose": ("文字", "prose"),
    "market_prose": ("文字", "prose"),
    "other": ("其他", "other"),
}


def chinese_font() -> str | None:
    """The first installed font of the list that really holds the characters."""
    return _listed_font() or (_listed_font() if _list_new_fonts() else None)


def _listed_font() -> str | None:
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    files = {entry.name: entry.fname for entry in fontManager.ttflist}
    for name in _FONTS:
        if name in files:
            try:
                characters = FT2Font(files[name]).get_charmap()
            except (OSError, RuntimeError):  # the list is a cache: the file may be gone, or damaged
                continue
            if all(ord(character) in characters for character in _NEEDED):
                return name
    return None


def _list_new_fonts() -> bool:
    """Fonts that were installed after matplotlib wrote its cache, into the list of this process."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    found = [path for path in findSystemFonts() if path not in known]
    for path in found:
        with suppress(OSError, RuntimeError):
            fontManager.addfont(path)
    return bool(found)


def _characters(font: str) -> set[int]:
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    file = next((entry.fname for entry in fontManager.ttflist if entry.name == font), None)
    return set() if file is None else set(FT2Font(file).get_charmap())


class Words:
    """`say("标签", "labels")` inside a `with`, in which figures are drawn with the font that was found.

    `language`: "en" asks for English where there is a Chinese font as well; Chinese needs one.
    """

    def __init__(self, language: Literal["zh", "en"] | None = None) -> None:
        self._font = chinese_font()
        self._language = language
        self._settings = ExitStack()
        self._characters: set[int] | None = None

    @property
    def chinese(self) -> bool:
        return self._font is not None and self._language != "en"

    def __enter__(self) -> Self:
        from matplotlib import rc_context

        # Named one by one, because matplotlib looks for a missing character only in families that are.
        families = [self._font, "DejaVu Sans"] if self._font is not None else ["DejaVu Sans"]
        self._settings.enter_context(rc_context({"font.family": families, "axes.unicode_minus": False}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._settings.close()

    def __call__(self, chinese: str, english: str) -> str:
        return chinese if self.chinese else english

    def can_draw(self, text: str) -> bool:
        """Whether the fonts that figures are drawn with here hold every character."""
        if self._characters is None:
            self._characters = set().union(*(_characters(name) for name in (self._font, "DejaVu Sans") if name))
        return all(ord(character) in self._characters for character in text)

    def label(self, name: str) -> str:
        return self(LABELS_ZH[name], name)

    def split(self, name: str) -> str:
        return self(*_SPLITS[name])

    def kind(self, name: str) -> str:
        return self(*_KINDS[name])

    def style(self, name: str) -> str:
        return self(*_STYLES[name])


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Complete under its own name, or not there."""
    try:
        with replacing_file(path) as partial:
            figure.savefig(partial, dpi=130, format="png")
    except OSError as error:
        raise DataError(f"无法写入 {path}：{system_reason(error)}。请换一个目录（--out）。") from error
