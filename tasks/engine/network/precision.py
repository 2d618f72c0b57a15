"""Floating-point type of a process: chosen by its hardware and set in TensorFlow."""

import os
from pathlib import Path

import tensorflow as tf

from tasks.core.catalog import Precision
from tasks.core.precision import ChosenPrecision, choose_precision

CPU_INFO = Path("/proc/cpuinfo")

FLOAT32_ON_CPUS = {
    "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE": "DepthwiseConv2dNativeBackpropFilter,"
    "DepthwiseConv2dNativeBackpropInput"
}
"""Gradients that stay in float32 beside bfloat16: oneDNN has no fast kernel for those of depthwise convolutions of 5 px
or with a stride. Measured on Zen 4: 624 ms of a training step of 1,350; in float32 the step takes 960."""


def set_precision(asked: Precision) -> ChosenPrecision:
    """Set the floating-point type of models built from now on in this process, and return it.

    bfloat16 on a CPU keeps weights and sensitive operations in float32 and lets oneDNN run the rest in bfloat16; on a
    GPU both reduced precisions are Keras' mixed policies.

    Raises:
        ModelError: If float16 is asked for without a GPU.
    """
    has_gpu = bool(tf.config.get_visible_devices("GPU"))
    chosen = choose_precision(asked, has_gpu=has_gpu, cpu_flags=cpu_flags())
    if has_gpu:
        policy = chosen.precision if chosen.precision == "float32" else f"mixed_{chosen.precision}"
        tf.keras.mixed_precision.set_global_policy(policy)
    is_rewritten = chosen.precision == "bfloat16" and not has_gpu
    if is_rewritten:
        for name, operations in FLOAT32_ON_CPUS.items():
            os.environ.setdefault(name, operations)  # read when a graph is optimised
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": is_rewritten})
    return chosen


def cpu_flags() -> frozenset[str]:
    """Return the flags of this machine's CPU as Linux names them; empty on other systems."""
    return frozenset(CPU_INFO.read_text().split()) if CPU_INFO.exists() else frozenset()
