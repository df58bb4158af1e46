"""`report.html`: one file without a script or an address, whatever stands in the result."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from functools import cache
from typing import Any

from fintunnel.prompt import BEIJING
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fintunnel_training.comparison.report import number_format
from fintunnel_training.comparison.report.data_view import card_blocks, edges_lines
from fintunnel_training.comparison.report.examples_view import examples_view
from fintunnel_training.comparison.report.findings import Findings
from fintunnel_training.comparison.report.glance import tiles
from fintunnel_training.comparison.report.measure_table import measure_table
from fintunnel_training.comparison.report.pictures import Pictures
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.summary import summary
from fintunnel_training.comparison.report.training_view import training_view
from fintunnel_training.comparison.report.untrusted import harmless
from fintunnel_training.comparison.report.verdicts import judgement
from fintunnel_training.comparison.result import MEASURES, ComparisonResult, Difference

__all__ = ["rendered", "report_html"]


def report_html(result: ComparisonResult, language: Language, pictures: Pictures) -> str:
    say = Say(language)
    return rendered(
        "report.html.j2",
        say,
        result=result,
        findings=Findings(result),
        summary=summary(result, language),
        tiles=tiles(result, say),
        table=measure_table(result, say),
        training=[training_view(one, pictures.loss_curves.get(one.system), say) for one in result.training],
        examples=examples_view(result, say),
        card=card_blocks(result.card, say) if result.card is not None else [],
        edges=_adapter_edges(result, say),
        differences=_difference_groups(result),
        judgement=lambda found: judgement(found, say),
        better_way=lambda found: MEASURES[found.name],
        form=number_format,
        images={name: f"data:image/png;base64,{b64encode(png).decode('ascii')}" for name, png in pictures.png.items()},
        renamed=pictures.renamed,
    )


def rendered(template: str, say: Say, **values: Any) -> str:
    """A template of this package; every value is escaped, and what is undefined is an error."""
    return _environment().get_template(template).render(say=say, beijing=_beijing, **values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fintunnel_training.comparison.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _beijing(at: datetime) -> datetime:
    return at.astimezone(BEIJING) if at.tzinfo is not None else at


def _finalize(value: Any) -> Any:
    return harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _difference_groups(result: ComparisonResult) -> list[list[Difference]]:
    """Those of one system against one kind of other stand together."""
    groups: dict[tuple[str, str], list[Difference]] = {}
    for found in result.differences:
        groups.setdefault((found.first, found.against), []).append(found)
    return list(groups.values())


def _adapter_edges(result: ComparisonResult, say: Say) -> list[str]:
    """What the labels mean where no card says it."""
    edges = next((one.edges for one in result.training if one.edges), None)
    if result.card is not None or edges is None:
        return []
    try:
        return edges_lines(edges, say)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return []
