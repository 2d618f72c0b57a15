"""Names of flow runs: what runs on what, so that a list of runs can be read."""

from collections.abc import Callable

from prefect.runtime import flow_run

from tasks.core.addresses import shown_uri

MAX_LENGTH = 60


def _named(verb: str, first: str, second: str | None = None, *, joined_by: str = "with") -> Callable[[], str]:
    """Return a function that names a flow run after the last folders of its parameters.

    Args:
        verb: What the flow does.
        first: Parameter that says on what.
        second: Parameter that says with or into what.
        joined_by: Word between the two.
    """

    def name() -> str:
        found = flow_run.parameters
        parts = [verb, _last_folder(found[first])]
        if second:
            parts += [joined_by, _last_folder(found[second])]
        return " ".join(parts)

    return name


def _last_folder(uri: object) -> str:
    """Return the last part of an address without credentials."""
    folder = shown_uri(str(uri)).rstrip("/").rpartition("/")[2]
    return folder if len(folder) <= MAX_LENGTH else f"{folder[: MAX_LENGTH - 1]}…"


preparation_name = _named("prepare", "dataset", "source", joined_by="from")
training_name = _named("train", "model_uri", "dataset", joined_by="on")
evaluation_name = _named("evaluate", "model_uri", "dataset", joined_by="on")
segmentation_name = _named("segment", "scans", "model_uri")
pipeline_name = _named("pipeline", "source", "out", joined_by="into")
review_name = _named("review", "output")
"""Names for `flow_run_name` of each flow."""
