"""A comparison's files for people: the report, its data, its table, the sheet for the defence, the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fintunnel_training.atomic_files import replacing
from fintunnel_training.comparison.report.baseline_names import with_baseline_names
from fintunnel_training.comparison.report.defence import defence_html
from fintunnel_training.comparison.report.markdown import table_markdown
from fintunnel_training.comparison.report.page import report_html
from fintunnel_training.comparison.report.pictures import draw_pictures
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.result import ComparisonResult

__all__ = ["write_report"]


def write_report(
    result: ComparisonResult, folder: Path, *, language: Language, loss_curves: Mapping[str, bytes]
) -> list[Path]:
    """`report.html`, `report.json`, `table.md`, `defence.html` and `pictures/*.png` in `folder`, which is made where it
    is missing. All are complete before the first takes its name; until then an earlier report stays as it was.

    Args:
        loss_curves: by system, the picture that its training left; what is no PNG is left out.

    Returns:
        the files, the report first.

    Raises:
        DataError: a file cannot be written.
    """
    pictures = draw_pictures(result, language, loss_curves)
    result = result.model_copy(
        update={
            "pictures": {name: f"pictures/{name}.png" for name in pictures.png},
            "training": [
                one.model_copy(
                    update={
                        "loss_curve": f"pictures/{name}.png" if (name := pictures.loss_curves.get(one.system)) else None
                    }
                )
                for one in result.training
            ],
        }
    )
    shown = with_baseline_names(result, Say(language))
    contents = {
        folder / "report.html": report_html(shown, language, pictures).encode(),
        folder / "report.json": (result.model_dump_json(indent=2) + "\n").encode(),
        folder / "table.md": table_markdown(shown, language).encode(),
        folder / "defence.html": defence_html(shown, language).encode(),
        **{folder / "pictures" / f"{name}.png": png for name, png in pictures.png.items()},
    }
    with replacing(list(contents)) as partial:
        for path, content in contents.items():
            partial[path].write_bytes(content)
    return list(contents)
