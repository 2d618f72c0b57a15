"""Parameters of the random augmentation of training slices.

The reasons for the defaults: infra/decisions/0014 and 0017.
"""

from pydantic import Field

from tasks.core.config.forms import FormModel


class AugmentConfig(FormModel):
    """Random augmentation of training slices, image and mask together; 0 switches an augmentation off.

    Geometric parameters are half-ranges: `rotate_degrees=20` draws uniformly from [-20, 20].
    """

    horizontal_flip: float = Field(
        0.5,
        title="Left-right flip (probability)",
        ge=0,
        le=1,
        description="Probability of a left-right flip per slice.",
    )
    vertical_flip: float = Field(
        0.5, title="Up-down flip (probability)", ge=0, le=1, description="Probability of an up-down flip per slice."
    )
    quarter_turns: float = Field(
        0.5,
        title="Quarter turns (probability)",
        ge=0,
        le=1,
        description="Probability of a rotation by 0, 90, 180 or 270 degrees per slice.",
    )
    rotate_degrees: float = Field(
        20.0, title="Rotation (degrees)", ge=0, le=180, description="Largest rotation in either direction, degrees."
    )
    shear_degrees: float = Field(
        0.0, title="Shear (degrees)", ge=0, le=45, description="Largest shear in either direction, degrees."
    )
    zoom: float = Field(
        0.2, title="Zoom (fraction)", ge=0, lt=1, description="Largest zoom in or out, fraction of the slice's size."
    )
    zoom_in: float = Field(
        0.7,
        title="Zoom in (fraction)",
        ge=0,
        le=2,
        description="Largest zoom in, fraction of the slice's size, if larger than `zoom`. Prepares for slices that "
        "are cropped to the lungs.",
    )
    shift: float = Field(
        0.1,
        title="Shift (fraction)",
        ge=0,
        lt=1,
        description="Largest shift in either direction, fraction of the slice's side.",
    )
    tone_curve: float = Field(
        0.25,
        title="Tone curve (fraction)",
        ge=0,
        le=1,
        description="Strength of random tone curves, fraction of full scale. Prepares for other windows and exports.",
    )
    brightness: float = Field(
        0.2,
        title="Brightness (fraction)",
        ge=0,
        le=1,
        description="Largest change in brightness, fraction of full scale.",
    )
    contrast: float = Field(
        0.3,
        title="Contrast (fraction)",
        ge=0,
        le=1,
        description="Largest relative change in contrast, fraction: 0.2 = 80 to 120 %.",
    )
    lung_contrast: float = Field(
        0.0,
        title="Contrast to lung (fraction)",
        ge=0,
        le=3,
        description="Largest stretch or shrinkage of differences from the lung's level, fraction: 1 = half to twice. "
        "Prepares for pale lesions, and for collections exported with more contrast.",
    )
    equalisation: float = Field(
        0.4,
        title="Local equalisation (probability)",
        ge=0,
        le=1,
        description="Probability of contrast-limited local histogram equalisation (CLAHE) per slice.",
    )
    blur: float = Field(
        0.25,
        title="Blur (probability)",
        ge=0,
        le=1,
        description="Probability of a Gaussian blur of 3 to 5 px per slice.",
    )
    noise: float = Field(
        0.1,
        title="Noise (fraction)",
        ge=0,
        le=0.5,
        description="Largest standard deviation of Gaussian noise, fraction of full scale.",
    )
    jpeg: float = Field(
        0.15,
        title="JPEG compression (probability)",
        ge=0,
        le=1,
        description="Probability of JPEG compression at a quality of 40 to 90 per slice.",
    )
