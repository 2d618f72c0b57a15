"""Command `lesions names`: source URIs of hashed scan ids, for holders of the key."""

from tasks.io.outputs.ownership import require_segmentation
from tasks.io.outputs.segmentations import reveal
from tasks.runtime.addresses import locate


def names(output: str) -> dict[str, str]:
    """Show the id and the source URI of every scan of a pseudonymised segmentation, separated by a tab.

    Needs the key in LESIONS_ID_KEY.

    Args:
        output: URI of a segmentation with hashed ids.
    """
    uri = locate(output)
    require_segmentation(uri)
    return dict(reveal(uri))
