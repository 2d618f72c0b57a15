"""How CT values become the input of the model."""

from typing import Literal

from pydantic import Field

from tasks.core.config.forms import FormModel


class HuConfig(FormModel):
    """How CT values become the 8 bits the model sees; slices that are 8-bit already are taken as they are."""

    mapping: Literal["window", "slice_min_max"] = Field(
        "window",
        title="Mapping of CT values",
        description="window: level ± width/2; slice_min_max: each slice's own range, for models trained on slices "
        "exported that way.",
    )
    window_level_hu: float = Field(
        -600.0, title="Window level (HU)", ge=-1024, le=3071, description="Centre of the window, HU."
    )
    window_width_hu: float = Field(
        1500.0, title="Window width (HU)", gt=0, le=8192, description="Full width of the window, HU."
    )
