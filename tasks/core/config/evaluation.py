"""Parameters of an evaluation."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from tasks.core.config.forms import FormModel


def _none_if_empty(value: object) -> object:
    return None if value == "" else value  # a form's field that was cleared


class EvaluationConfig(FormModel):
    """Comparison of an evaluation with an earlier one."""

    compare_with: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None,
        title="Compare with (URI)",
        description="URI of an earlier evaluation of the same dataset and split: its folder, or its metrics.json. Dice "
        "is then compared patient by patient; empty = no comparison.",
    )
