"""Viewer of flagged scans: one self-contained HTML page that opens from disk and asks no network."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment

from tasks.core.config.intensity import HuConfig
from tasks.core.flags import label
from tasks.core.intensity import AIR_HU, DENSEST_HU
from tasks.core.numbers import number, score
from tasks.core.pages.rendering import environment
from tasks.core.plural import counted
from tasks.core.rows import ScanRow

MAX_SCANS = 20
"""Largest number of scans of a page."""
MAX_BYTES = 192 << 20
"""Largest size of the images and masks of a page: base64 adds a third, and a browser holds a page as one string, of at
most 512 MiB in Chromium. A scan of 300 slices has about 10 MiB."""

NIIVUE = "vendor/niivue/niivue.umd.js"
SCRIPTS = (NIIVUE, "verdicts.js", "viewer_window.js", "viewer_masks.js", "viewer.js")
_UNSAFE_IN_SCRIPT = ("</script", "<!--")
"""What ends a script element, or changes how its end is found (HTML standard, 4.12.1.3)."""


SIZE_PX: Final = 256
"""Side of the slices of a page."""
PREDICTED: Final = 1
CORRECTED: Final = 2
"""Bits of the masks of a page: a voxel of 3 is lesion in both."""

N_STEPS = 255
MIN_STEP_HU = 6
"""Steps of the CT values of a page, 8 bits, and the smallest one: from air to 506 HU, which has lung and mediastinum in
it, and differences that a window of the mediastinum shows."""


@dataclass(frozen=True, slots=True)
class ViewerScan:
    """Scan of the viewer.

    Attributes:
        scan_id: Id of the scan.
        caption: Why it is shown; plain text.
        image: Slices as gzipped NIfTI, uint8; CT values have slope and intercept, so that readers get HU.
        mask: Lesions on the same grid as gzipped NIfTI, uint8: bits `PREDICTED` and `CORRECTED`.
        mask_sha256: Digest of the predicted mask, which verdicts are on.
        is_hu: Whether the image has CT values; else grey levels.
        has_sides: Whether it is known which side is the patient's right; else sides are not named.
        is_corrected: Whether the mask has a correction.
    """

    scan_id: str
    caption: str
    image: bytes
    mask: bytes
    mask_sha256: str | None = None
    is_hu: bool = False
    has_sides: bool = True
    is_corrected: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """Window that a button and a key of the page set.

    Attributes:
        name: What it shows.
        key: Its key.
        level_hu: Centre, HU.
        width_hu: Full width, HU.
    """

    name: str
    key: str
    level_hu: float
    width_hu: float


LUNG: Final = Preset("Lung", "6", -600, 1500)
MEDIASTINUM: Final = Preset("Mediastinum", "7", 40, 400)


def presets_of(model_hu: HuConfig | None) -> list[Preset]:
    """Return the windows of a page, the first one first: the model's, if it has one and it is known, then the usual."""
    if model_hu is None or model_hu.mapping != "window":
        return [LUNG, MEDIASTINUM]
    return [Preset("Model", "5", model_hu.window_level_hu, model_hu.window_width_hu), LUNG, MEDIASTINUM]


def stored_window(model_hu: HuConfig | None) -> HuConfig:
    """Return the window of the CT values that a page keeps: whole steps from air, to above the model's window."""
    top = max(preset.level_hu + preset.width_hu / 2 for preset in presets_of(model_hu))
    step_hu = max(MIN_STEP_HU, math.ceil((min(top, DENSEST_HU) - AIR_HU) / N_STEPS))
    width_hu = N_STEPS * step_hu
    return HuConfig(window_level_hu=AIR_HU + width_hu / 2, window_width_hu=width_hu)


def viewer_page(
    scans: Sequence[ViewerScan],
    *,
    n_scans: int | None = None,
    model_hu: HuConfig | None = None,
    store: str = "",
    masks: Mapping[str, str] | None = None,
) -> str:
    """Return the HTML page of the viewer, with the first scans that fit in: `MAX_SCANS`, `MAX_BYTES`.

    Its Content-Security-Policy lets only the page's own scripts run, by their digest, and forbids every connection.

    Args:
        scans: Scans to show, most urgent first.
        n_scans: Number of all scans that could be shown; None = those that are given.
        model_hu: Mapping of CT values to the model's input; None = unknown.
        store: Name under which a browser keeps the verdicts on this collection.
        masks: Digest of the mask of every scan of the collection, by id: an export has all their verdicts.
    """
    templates = environment()
    scripts = [_source(templates, name) for name in SCRIPTS]
    shown = _fitting(scans)
    stored = stored_window(model_hu)
    half = stored.window_width_hu / 2
    return templates.get_template("viewer.html.j2").render(
        scans=[(scan, _base64(scan.image), _base64(scan.mask)) for scan in shown],
        left_out=_left_out(len(scans) if n_scans is None else n_scans, len(shown)),
        size_px=SIZE_PX,
        low_hu=int(stored.window_level_hu - half),
        high_hu=int(stored.window_level_hu + half),
        step_hu=int(stored.window_width_hu / N_STEPS),
        presets=presets_of(model_hu),
        verdicts={"store": store, "masks": list((masks or {}).items())},
        scripts=scripts,
        script_digests=[_csp_digest(script) for script in scripts],
        licences=_source(templates, "vendor/niivue/LICENSE"),
    )


def caption_of(row: ScanRow) -> str:
    """Return what is known of a scan and its mask, in one line: expected Dice, drift, lesions and flags."""
    facts = []
    if row.quality is not None and row.n_lesions:
        facts.append(f"expected Dice {score(row.quality)}")
    if row.drift_score is not None:
        facts.append(f"drift {score(row.drift_score)}")
    if row.n_lesions is not None:
        volume = f", {number(row.lesion_ml)} ml" if row.lesion_ml is not None and row.n_lesions else ""
        facts.append(f"{counted(row.n_lesions, 'lesion')}{volume}")
    facts += [label(flag) for flag in row.flags]
    return " · ".join(facts)


def _fitting(scans: Sequence[ViewerScan]) -> list[ViewerScan]:
    """Return the first scans that fit in a page."""
    shown: list[ViewerScan] = []
    n_bytes = 0
    for scan in scans[:MAX_SCANS]:
        n_bytes += len(scan.image) + len(scan.mask)
        if n_bytes > MAX_BYTES:
            break
        shown.append(scan)
    return shown


def _left_out(n_scans: int, n_shown: int) -> str | None:
    """Return a sentence about the scans that are not in the page; None if all are."""
    if n_scans == n_shown:
        return None
    limit = f"{MAX_SCANS} scans" if n_shown == MAX_SCANS else f"{MAX_BYTES >> 20} MiB"
    return f"The first {n_shown} of {counted(n_scans, 'scan')}; a page holds at most {limit}."


def _source(templates: Environment, name: str) -> str:
    """Return a file of the templates as it is, fit to stand in a script element."""
    loader = templates.loader
    text = loader.get_source(templates, name)[0] if loader else ""
    if any(ending in text.lower() for ending in _UNSAFE_IN_SCRIPT):
        raise ValueError(f"{name} holds what ends a script element; inline another build of it.")
    return text


def _csp_digest(script: str) -> str:
    """Return the source expression of an inline script (Content Security Policy Level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
