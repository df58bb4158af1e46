"""The notebook's form: its values, checked before anything is done with them."""

from __future__ import annotations

from typing import Annotated, Any

from fintunnel.broken_rules import rule_in_chinese
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fintunnel_training.colab.failure import CellError

__all__ = ["AUTO", "SAMPLE", "UPLOAD", "Form", "checked"]

AUTO, SAMPLE, UPLOAD = "auto", "sample", "upload"

_Text = Annotated[str, StringConstraints(strip_whitespace=True)]
_Given = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Form(BaseModel):
    """The fields of the form in lower case. What a training takes has the bounds of `qlora.recipe.Recipe`, whose
    reading would cost seconds here.

    `data`: SAMPLE, UPLOAD, or the path of a database or a JSONL. `base`: AUTO, or as `fintunnel train --base`.
    `num_samples`, `max_steps`: 0 for all, for no limit. `batch_size`, `max_length`, `learning_rate`: 0 for what the
    machine's preset says. `compare_rows`: 0 for no comparison.
    `folder`, `work`: empty for the usual place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: _Given
    base: _Given
    num_samples: int = Field(ge=0)
    epochs: float = Field(gt=0, le=1000)
    max_steps: int = Field(ge=0)
    batch_size: int = Field(ge=0, le=4096)
    max_length: int = Field(ge=0)
    learning_rate: float = Field(ge=0, le=1)
    calibrate: bool
    compare_rows: int = Field(ge=0)
    headline: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    download: bool
    use_ngrok: bool
    folder: _Text
    work: _Text


def checked(values: dict[str, Any]) -> Form:
    """
    Raises:
        CellError: names every field that is wrong, as the form calls it.
    """
    try:
        return Form.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])).upper()} 是 {fault['input']!r}，{rule_in_chinese(fault)}"
            for fault in error.errors()
        ]
        raise CellError(f"参数不对：{'；'.join(faults)}。请改好表单，再运行那一格和这一格。") from None
