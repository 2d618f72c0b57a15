"""Command `lesions names`: source URIs of hashed scan ids, for holders of the key."""

import sys

from tasks.io.outputs.segmentations import reveal
from tasks.runtime.addresses import locate


def names(output: str) -> None:
    """Print the id and the source URI of every scan of a pseudonymised segmentation, separated by a tab.

    Needs the key in LESIONS_ID_KEY.

    Args:
        output: URI of a segmentation with hashed ids.
    """
    for scan_id, source_uri in reveal(locate(output)):
        sys.stdout.write(f"{scan_id}\t{source_uri}\n")
