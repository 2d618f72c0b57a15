"""Weight files of Keras, made from those of PyTorch."""

import io
import re
from collections.abc import Mapping

import h5py
import numpy as np

HEAD = re.compile(r"(_conv_head|_bn1|_fc)\.")
"""Tensors of EfficientNet's classification head; the blocks' own `_bn1` begin with `_blocks`."""

BATCHNORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
"""Weights of Keras' BatchNormalization by PyTorch's names, in the order of its layer."""

VERSION = b"2"
"""Version of Keras that the file claims; without one, version 1 is assumed and kernels are turned round."""


def layer_name(module: str) -> str:
    """Return the Keras layer of a PyTorch module: `_blocks.0._bn1` → `blocks.0.bn1`; Keras takes no leading `_`."""
    return ".".join(part.removeprefix("_") for part in module.split("."))


def encoder_file(state: Mapping[str, np.ndarray]) -> bytes:
    """Return a Keras .h5 weight file of an EfficientNet's encoder, to be loaded by name.

    Args:
        state: Tensors of the PyTorch model by name; those of its classification head are left out.
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in state.items():
        module, _, parameter = name.rpartition(".")
        if not HEAD.match(name) and parameter != "num_batches_tracked":
            weight, values = _keras_weight(module, parameter, tensor)
            layers.setdefault(layer_name(module), {})[weight] = values
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(layer_names=[name.encode() for name in layers], backend=b"tensorflow", keras_version=VERSION)
        for name, weights in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, values in weights.items():
                group[weight] = values
    return buffer.getvalue()


def _keras_weight(module: str, parameter: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Return name and value of a weight; kernels go from (out, in, height, width) to Keras' order of axes."""
    if tensor.ndim != 4:
        return BATCHNORM[parameter], tensor
    if module.endswith("depthwise_conv"):  # one input per output: (channels, 1, height, width)
        return "depthwise_kernel", tensor.transpose(2, 3, 0, 1)
    return "kernel", tensor.transpose(2, 3, 1, 0)
