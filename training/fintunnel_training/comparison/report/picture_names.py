"""What systems are called and coloured in the pictures.

Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from fintunnel.chinese import SCALES_ZH

from fintunnel_training.comparison.report.untrusted import harmless, shortened
from fintunnel_training.comparison.result import ComparisonResult, SystemKind
from fintunnel_training.dataset.looking.drawing import Words

__all__ = ["Cast", "cast"]

_LONGEST = 26
_COLOURS: dict[SystemKind, tuple[str, ...]] = {
    "base": ("#e69f00", "#b87a00"),
    "tuned": ("#0072b2", "#56b4e9", "#004c77"),
    "hosted": ("#009e73", "#66c7a8"),
    "baseline": ("#777777", "#9a9a9a", "#555555"),
}
_MARKERS: dict[SystemKind, str] = {"base": "s", "tuned": "o", "hosted": "^", "baseline": "D"}


@dataclass(frozen=True)
class Cast:
    """By system: its name in the pictures, colour and marker. `renamed`: where the fonts lack the characters.
    `scales`: what people's scales are called."""

    names: dict[str, str]
    colours: dict[str, str]
    markers: dict[str, str]
    renamed: dict[str, str]
    scales: dict[str, str]


def cast(result: ComparisonResult, say: Words) -> Cast:
    names: dict[str, str] = {}
    colours: dict[str, str] = {}
    markers: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for kind, palette in _COLOURS.items():
        for number, system in enumerate(system for system in result.systems if system.kind == kind):
            shown = shortened(" ".join(harmless(system.name).split()), _LONGEST)
            if not say.can_draw(shown) or shown in names.values():
                shown = f"{kind} {number + 1}"
                renamed[system.name] = shown
            # A dollar sign would begin a formula.
            names[system.name] = shown.replace("$", r"\$")
            colours[system.name] = palette[number % len(palette)]
            markers[system.name] = _MARKERS[kind]
    scales: dict[str, str] = {}
    for number, scale in enumerate(result.people.scales if result.people else (), 1):
        shown = say(SCALES_ZH.get(scale, scale), scale)
        scales[scale] = shown if say.can_draw(shown) and "$" not in shown else f"scale {number}"
    return Cast(names, colours, markers, renamed, scales)
