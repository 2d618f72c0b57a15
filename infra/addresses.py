"""Refusal of deployments whose addresses are not in the environment: `python -m infra.addresses`, by prefect.yaml.

Prefect puts nothing where a variable is not set, and so would replace the addresses of a deployment by empty ones.
"""

import os
import sys
from collections.abc import Mapping
from typing import Final

NEEDED: Final = ("LESIONS_MODEL_URI", "LESIONS_SCANS_URI", "LESIONS_OUTPUT_URI")
MAY_BE_EMPTY: Final = ("LESIONS_RAY_ADDRESS", "LESIONS_DATASET_URI", "LESIONS_CANDIDATE_URI")
"""Ray address: steps run in the flow run's own process. The others: nothing is trained by a schedule."""


def missing_addresses(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that are not set, and those that are empty but must not be."""
    unset = [name for name in MAY_BE_EMPTY if name not in environment]
    return [name for name in NEEDED if not environment.get(name)] + unset


def main() -> None:
    """Exit with a sentence if variables are missing."""
    missing = missing_addresses(os.environ)
    if missing:
        sys.exit(
            f"Not deployed: set {', '.join(missing)} as in infra/compose/env.example ({', '.join(MAY_BE_EMPTY)} may be "
            "empty). Prefect would put nothing in their places."
        )


if __name__ == "__main__":
    main()
