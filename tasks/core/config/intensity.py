"""Parameters of the mapping from CT values to the model's input."""

from typing import Literal

from pydantic import Field

from tasks.core.config.forms import FormModel


class HuConfig(FormModel):
    """Mapping of CT values to the model's 8-bit input; slices that already have 8 bits are used unchanged."""

    mapping: Literal["window", "slice_min_max"] = Field(
        "window",
        title="Mapping of CT values",
        description="Range of CT values mapped to 8 bits: window (level ± width/2) or slice_min_max (minimum to "
        "maximum of each slice). slice_min_max suits models trained on slices exported that way.",
    )
    window_level_hu: float = Field(
        -600.0, title="Window level (HU)", ge=-1024, le=3071, description="Centre of the CT window, HU."
    )
    window_width_hu: float = Field(
        1500.0, title="Window width (HU)", gt=0, le=8192, description="Full width of the CT window, HU."
    )
