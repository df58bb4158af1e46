"""`calibration.json`: what corrects a served model's probabilities. Imports neither torch nor numpy.

Per field and condition a temperature T and one bias b per class turn probabilities p into softmax(log p / T + b):
temperature scaling with the biases of its vector form (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.terminal_text import system_reason
from fintunnel.wire import DIRECTIONS, IMPACTS, Signal
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fintunnel_training.adapter import ADAPTER_WEIGHTS, file_sha256
from fintunnel_training.errors import AdapterError

__all__ = [
    "CALIBRATION",
    "CLASSES",
    "CONDITIONS",
    "EPSILON",
    "Calibration",
    "Condition",
    "FieldFit",
    "FieldName",
    "apply",
    "read_calibration",
]

CALIBRATION = "calibration.json"
EPSILON = 1e-6  # a probability below this, 0 included, counts as this: its logarithm has to be finite

FieldName = Literal["impact", "direction"] | Signal
Condition = Literal["with_context", "without_context"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
CLASSES: dict[FieldName, tuple[str, ...]] = {
    "impact": IMPACTS,
    "direction": DIRECTIONS,
    "priced_in": ("true", "false"),
    "wait_and_see": ("true", "false"),
}

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Utc = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldFit(_Record):
    """The correction of one field under one condition, and what it was worth on days that it was not fitted on.

    `biases` has one number per class and sums to 0. `nll`: mean negative log likelihood in nats; `brier`: mean squared
    error summed over the classes; `ece`: expected calibration error, 0 to 1. Where nothing was gained it is the
    identity, and before and after are equal.
    """

    temperature: _Positive
    biases: dict[str, _Finite]
    rows: int = Field(ge=1)
    nll_before: _NonNegative
    nll_after: _NonNegative
    brier_before: _NonNegative
    brier_after: _NonNegative
    ece_before: _NonNegative
    ece_after: _NonNegative

    @property
    def is_identity(self) -> bool:
        return self.temperature == 1 and not any(self.biases.values())

    @model_validator(mode="after")
    def _biases_sum_to_zero(self) -> Self:
        if abs(sum(self.biases.values())) > 1e-6:
            raise ValueError("biases do not sum to 0")
        return self


class Calibration(_Record):
    """`adapter`: SHA-256 of the weights that it was fitted for; `data_sha256`: of the validation file; `rows`: how many
    of its rows were asked; `quantization`: of the base that answered, None where another's server was asked."""

    format_version: Literal[1] = 1
    fitted_at: _Utc = Field(default_factory=lambda: datetime.now(UTC))
    adapter: _Sha256
    data_sha256: _Sha256
    rows: int = Field(ge=1)
    quantization: str | None
    fields: dict[FieldName, dict[Condition, FieldFit]]

    @model_validator(mode="after")
    def _classes_are_the_contracts(self) -> Self:
        for name, by_condition in self.fields.items():
            for fit in by_condition.values():
                if set(fit.biases) != set(CLASSES[name]):
                    raise ValueError(f"the classes of {name} are {', '.join(CLASSES[name])}")
        return self


def apply(probabilities: Mapping[str, float], fit: FieldFit) -> dict[str, float]:
    """The calibrated probabilities of one field: softmax(log p / T + b), in the order given; they sum to 1.

    A signal goes in as {"true": p, "false": 1 - p}.

    Raises:
        KeyError: a class that the fit does not have.
    """
    scores = {
        label: math.log(max(probability, EPSILON)) / fit.temperature + fit.biases[label]
        for label, probability in probabilities.items()
    }
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of an adapter folder, None where it has none.

    Raises:
        AdapterError: it is damaged, or was fitted for other weights than those beside it.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    again = "请重新运行 fintunnel calibrate，或删掉它。"
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise AdapterError(f"无法读取 {path}：{system_reason(error)}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AdapterError(f"{path} 不是有效的校准：{where} {rule_in_chinese(first)}。{again}") from error
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file() or file_sha256(weights) != calibration.adapter:
        raise AdapterError(f"{path} 是为另一份适配器权重拟合的。{again}")
    return calibration
