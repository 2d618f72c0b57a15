"""`lesions names`: whose is a hashed id? Answers only with the key."""

import sys

from tasks.io.outputs.segmentations import reveal
from tasks.runtime.addresses import locate


def names(output: str) -> None:
    """Print id and source URI of every scan, a tab between; needs the key in LESIONS_ID_KEY.

    Args:
        output: URI of a segmentation whose ids were hashed.
    """
    for scan_id, source_uri in reveal(locate(output)):
        sys.stdout.write(f"{scan_id}\t{source_uri}\n")
