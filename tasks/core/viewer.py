"""Viewer of flagged scans: one self-contained HTML page that opens from disk and asks no network."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment

from tasks.core.flags import label
from tasks.core.numbers import number, score
from tasks.core.pages import environment
from tasks.core.plural import counted
from tasks.core.rows import ScanRow

MAX_SCANS = 20
"""Largest number of scans of a page."""
MAX_BYTES = 192 << 20
"""Largest size of the images and masks of a page: base64 adds a third, and a browser holds a page as one string, of at
most 512 MiB in Chromium. A scan of 300 slices has about 10 MiB."""

NIIVUE = "vendor/niivue/niivue.umd.js"
_SCRIPTS = (NIIVUE, "viewer.js")
_UNSAFE_IN_SCRIPT = ("</script", "<!--")
"""What ends a script element, or changes how its end is found (HTML standard, 4.12.1.3)."""


@dataclass(frozen=True, slots=True)
class ViewerScan:
    """Scan of the viewer.

    Attributes:
        scan_id: Id of the scan.
        caption: Why it is shown; plain text.
        image: Slices at the model's size as gzipped NIfTI, uint8.
        mask: Lesions on the same grid as gzipped NIfTI, uint8 of 0 and 1.
    """

    scan_id: str
    caption: str
    image: bytes
    mask: bytes


def viewer_page(scans: Sequence[ViewerScan], *, n_scans: int | None = None) -> str:
    """Return the HTML page of the viewer, with the first scans that fit in: `MAX_SCANS`, `MAX_BYTES`.

    Its Content-Security-Policy lets only the page's two scripts run, by their digest, and forbids every connection.

    Args:
        scans: Scans to show, most urgent first.
        n_scans: Number of all scans that could be shown; None = those that are given.
    """
    templates = environment()
    scripts = [_source(templates, name) for name in _SCRIPTS]
    shown = _fitting(scans)
    return templates.get_template("viewer.html.j2").render(
        scans=[(scan, _base64(scan.image), _base64(scan.mask)) for scan in shown],
        left_out=_left_out(len(scans) if n_scans is None else n_scans, len(shown)),
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
