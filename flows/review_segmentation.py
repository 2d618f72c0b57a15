"""Flow that reviews a segmentation: scans to correct go out, verdicts and corrections come in."""

from prefect import flow

from tasks.core.errors import ConfigError
from tasks.core.handles import ReviewHandle
from tasks.io.outputs.ownership import require_segmentation
from tasks.review import review
from tasks.runtime.addresses import locate
from tasks.runtime.completeness import require_complete
from tasks.runtime.run_names import review_name


@flow(name="review-segmentation", flow_run_name=review_name)
def review_segmentation(output: str, *, n_scans: int = 10, labelmap: bool = False) -> ReviewHandle:
    """Package the scans to correct, and take in verdicts and corrections of a segmentation.

    Reads review/verdicts.csv and review/corrections/<scan_id>.* of the output, and writes packages of image and mask,
    agreement.csv and corrections.parquet into review/. Running it again takes in what is new. If a verdict or a
    correction is newly refused, the rest is taken in and the run then fails (exit code 3).

    Args:
        output: URI of a segmentation.
        n_scans: Number of the most urgent scans to package while there are no verdicts.
        labelmap: Write DICOM-SEG in packages of series as LABELMAP instead of BINARY.
    """
    output = locate(output)
    if n_scans < 0:
        raise ConfigError(f"n_scans is {n_scans}; a number from 0 was expected.")
    require_segmentation(output)
    reviewed = review(output, n_scans=n_scans, labelmap=labelmap)
    require_complete(review=reviewed)
    return reviewed
