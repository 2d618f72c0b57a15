"""Phantoms as labelled slices on storage, for the demo and the tests."""

from tasks.core.phantoms import phantom_scan
from tasks.io import storage
from tasks.io.formats.raster import write_mask_png, write_png

PATIENT_ID_PATTERN = r"^(?P<patient>phantom_\d+)_(?P<slice>\d+)$"


def write_phantom_collection(
    uri: str, *, n_patients: int, n_slices: int, size_px: int, first_patient: int = 0, n_lesions: int = 4
) -> None:
    """Write frames/, masks/ and lungs/ of phantom patients, PNG `phantom_<patient>_<slice>.png`; always the same.

    Args:
        uri: URI to write to.
        n_patients: Number of patients.
        n_slices: Slices per patient.
        size_px: Side of a slice.
        first_patient: Number of the first patient, so that collections can have different patients.
        n_lesions: Lesions per patient.
    """
    for patient in range(first_patient, first_patient + n_patients):
        scan = phantom_scan(patient, n_slices=n_slices, size_px=size_px, n_lesions=n_lesions)
        for slice_index, (image, mask, lung) in enumerate(zip(scan.image, scan.mask, scan.lung, strict=True)):
            name = f"phantom_{patient:03d}_{slice_index}.png"
            storage.publish(storage.join(uri, "frames", name), write_png(image))
            storage.publish(storage.join(uri, "masks", name), write_mask_png(mask))
            storage.publish(storage.join(uri, "lungs", name), write_mask_png(lung))
