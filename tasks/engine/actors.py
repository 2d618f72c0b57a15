"""The accelerator's place in a Ray Data pipeline: one loaded model an actor, slices packed into fixed batches."""

from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from tasks.core.catalog import Precision

BATCH_SIZE = 16
CPUS_PER_ACTOR = 1


class PredictSlices:
    """Adds `probability` to a batch of rows with an `image`; loads the bundle once."""

    def __init__(self, model_uri: str, precision: Precision) -> None:
        from tasks.engine.prediction import Predictor  # loads TensorFlow, here in the actor
        from tasks.io.bundles import read_bundle

        self._predictor = Predictor.from_bundle(read_bundle(model_uri), precision=precision, batch_size=BATCH_SIZE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch with the probability of each row's image."""
        images = np.ascontiguousarray(batch.column("image").combine_chunks().to_numpy_ndarray())
        probability = pa.FixedShapeTensorArray.from_numpy_ndarray(self._predictor.predict(images))
        return batch.append_column("probability", probability)


def predict_slices(rows: ray.data.Dataset, *, model_uri: str, precision: Precision) -> ray.data.Dataset:
    """Return the rows with `probability`, uint8 `(size_px, size_px)` in units of 1/255; rows keep their keys.

    Args:
        rows: Rows with `image`, uint8 `(size_px, size_px)`.
        model_uri: The bundle.
        precision: Arithmetic.
    """
    has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
    resources: dict[str, Any] = {"num_gpus": 1} if has_gpu else {"num_cpus": CPUS_PER_ACTOR}  # Any: Ray's keywords
    return rows.map_batches(
        PredictSlices,
        fn_constructor_kwargs={"model_uri": model_uri, "precision": precision},
        batch_size=BATCH_SIZE,
        batch_format="pyarrow",  # as NumPy, a missing error code would come back as NaN
        compute=ray.data.ActorPoolStrategy(size=1),
        **resources,
    )
