"""Page of a segmented collection: its summary, and every scan in a table with pictures.

The scans are one JSON array in the page, which `templates/segmentation.js` shows 50 at a time: 10,000 scans take 5 MB.
Pictures of the first scans to review are inside the page; others lie beside it and are loaded when they are reached.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from tasks.core.collection_summary import SEGMENTED, CollectionSummary, flag_counts, needs_review, rejected_by_code
from tasks.core.flags import label
from tasks.core.pages.distributions import Distribution, distribution_of
from tasks.core.pages.rendering import data_uri, render
from tasks.core.pictures.key_slices import key_slices
from tasks.core.pictures.panels import GAP_PX, GREY_OF_RGB
from tasks.core.review_queue import ranked
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.core.verdicts import browser_store

PREVIEWS = "previews"
"""Folder of the pictures, beside the page."""
PROFILE_BARS = 48
"""Largest number of bars of a lesion profile; longer scans are shown by the largest of neighbouring slices."""
PROFILE_HEIGHTS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Height of a bar as one character: 10,000 profiles take 0.5 MB."""
FIELDS = (
    *("id", "status", "voxels", "ml", "lung", "lesions", "quality", "low", "high", "drift", "flags", "warnings"),
    *("code", "error", "slices", "height", "width", "spacing", "oriented", "profile", "shown", "of", "sha", "rank"),
)
"""Fields of a scan in the page, in their order; flags and sentences are indices into lists of their own."""
NO_DRIFT = (
    "Drift was not measured: the bundle holds no appearance of its training data that this version reads (an earlier "
    "bundle, or sources of one patient each)."
)
NO_QUALITY = (
    "The quality of masks was not estimated: the bundle holds no calibration for this threshold (an earlier bundle, or "
    "too few validation patients with lesions)."
)


def segmentation_report(
    manifest: SegmentationManifest, rows: Sequence[ScanRow], *, pictures: Mapping[str, bytes]
) -> str:
    """Return the HTML page of a segmentation.

    Args:
        manifest: Manifest of the run.
        rows: Rows of all scans.
        pictures: Previews to put into the page, PNG by scan id.
    """
    summary = CollectionSummary.of(manifest, rows)
    return render(
        "segmentation.html.j2",
        manifest=manifest,
        summary=summary,
        rejected=rejected_by_code(rows),
        grey_of_rgb=GREY_OF_RGB,
        flags=flag_counts(rows),
        distributions=distributions_of(rows),
        missing=list(_not_measured(manifest, rows)),
        n_rows=len(rows),
        data=_as_json(_data(manifest, rows, pictures)),
    )


def to_review(rows: Sequence[ScanRow]) -> list[ScanRow]:
    """Return the scans whose masks a person should look at, most urgent first."""
    return ranked([row for row in rows if needs_review(row)])


def distributions_of(rows: Sequence[ScanRow]) -> list[Distribution]:
    """Return the distributions of volume, involvement, expected Dice and drift; of those figures that any scan has."""
    sick = [row for row in rows if row.n_lesions]
    in_ml = any(row.lesion_ml is not None for row in sick)
    volume = (
        distribution_of(
            "Lesion volume, ml", [row.lesion_ml for row in sick], (0, 1, 3, 10, 30, 100, 300, 1000), digits=1
        )
        if in_ml
        else distribution_of(
            "Lesion area, px",
            [row.lesion_voxels for row in sick],
            (0, 30, 100, 300, 1000, 3000, 10000, 30000),
            digits=0,
        )
    )
    shares = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
    found = [
        volume,
        distribution_of(
            "Lesion, % of the lung", [row.lung_involvement for row in sick], shares, unit_share=100, digits=1
        ),
        distribution_of("Expected Dice", [row.quality for row in sick], (0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        distribution_of(
            "Drift score",
            [row.drift_score for row in rows],
            (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 4),
            note="above 1: unlike the training data",
        ),
    ]
    return [distribution for distribution in found if distribution.n_scans]


def _not_measured(manifest: SegmentationManifest, rows: Sequence[ScanRow]) -> Iterator[str]:
    """Yield why masks have no drift or no quality; without masks there is nothing to explain."""
    segmented = [row for row in rows if row.status in SEGMENTED]
    if segmented and manifest.drift is None:
        yield NO_DRIFT
    if segmented and all(row.quality is None for row in segmented):
        yield NO_QUALITY


def _data(
    manifest: SegmentationManifest, rows: Sequence[ScanRow], pictures: Mapping[str, bytes]
) -> dict[str, Any]:  # Any: JSON
    """Return the scans as the page's script reads them."""
    flags, sentences = _Numbers(), _Numbers()
    ranks = {row.scan_id: rank for rank, row in enumerate(to_review(rows))}
    scans = [
        (
            *(
                row.scan_id,
                row.status,
                row.lesion_voxels,
                _rounded(row.lesion_ml, 2),
                _rounded(row.lung_involvement, 4),
            ),
            *(row.n_lesions, row.quality, row.quality_low, row.quality_high, row.drift_score),
            *([flags.of(flag) for flag in row.flags], [sentences.of(warning) for warning in row.warnings]),
            *(row.error_code, None if row.error is None else sentences.of(row.error)),
            *(row.n_slices, row.height_px, row.width_px, row.spacing_mm, row.is_oriented),
            *(_profile(row.lesion_profile), *_key_slices(row), row.mask_sha256, ranks.get(row.scan_id)),
        )
        for row in rows
    ]
    return {
        "fields": FIELDS,
        "scans": scans,
        "flags": flags.names,
        "labels": [label(name) for name in flags.names],
        "sentences": sentences.names,
        "heights": PROFILE_HEIGHTS,
        "gap": GAP_PX,
        "previews": PREVIEWS,
        "pictures": {scan_id: data_uri(png) for scan_id, png in pictures.items()},
        "names": {row.scan_id: quote(row.scan_id, safe="") for row in rows if quote(row.scan_id) != row.scan_id},
        "store": browser_store(scans_uri=manifest.scans_uri, model_digest=manifest.model_digest),
    }


class _Numbers:
    """Numbers of texts that many scans share, in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def names(self) -> list[str]:
        return list(self._numbers)


def _profile(voxels: Sequence[int] | None) -> str | None:
    """Return the lesion voxels of each slice as heights of bars; None for a single slice, or where it is unknown."""
    if voxels is None or len(voxels) < 2:
        return None
    n_bars = min(len(voxels), PROFILE_BARS)
    cuts = [len(voxels) * bar // n_bars for bar in range(n_bars + 1)]
    largest = [max(voxels[first:last]) for first, last in pairwise(cuts)]
    top = max(*largest, 1)
    steps = len(PROFILE_HEIGHTS) - 1
    return "".join(PROFILE_HEIGHTS[-(-value * steps // top)] for value in largest)


def _key_slices(row: ScanRow) -> tuple[list[int] | None, int | None]:
    """Return the numbers of the slices in the preview, from 1, and of how many.

    None of rows of earlier versions, whose previews hold each slice twice; they do not say whether they are oriented.
    """
    areas = row.lesion_profile if row.is_oriented is not None else None
    return ([n + 1 for n in key_slices(areas)], len(areas)) if areas else (None, None)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _as_json(data: dict[str, Any]) -> Markup:  # Any: JSON
    """Return data as JSON that no text in it can end the script element of."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704
