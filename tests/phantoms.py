"""Phantom collections on a local disk; the arrays come from `tasks.core.phantoms`, as the demo's do."""

from pathlib import Path

from tasks.io.phantom_collection import PATIENT_ID_PATTERN, write_phantom_collection

__all__ = ["PATIENT_ID_PATTERN", "write_phantoms"]


def write_phantoms(folder: Path, *, n_patients: int, n_slices: int, size_px: int, first_patient: int = 0) -> None:
    """Write frames/, masks/ and lungs/ of phantom patients below a folder."""
    write_phantom_collection(
        str(folder), n_patients=n_patients, n_slices=n_slices, size_px=size_px, first_patient=first_patient
    )
