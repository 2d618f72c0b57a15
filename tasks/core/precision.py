"""Choice of the floating-point type from what a machine has."""

from collections.abc import Collection
from dataclasses import dataclass

from tasks.core.catalog import Precision
from tasks.core.errors import ModelError

BFLOAT16_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
"""CPU flags of bfloat16 arithmetic, as Linux names them, with the names of their makers."""


@dataclass(frozen=True, slots=True)
class ChosenPrecision:
    """Floating-point type of a process.

    Attributes:
        precision: Never auto.
        reason: Where it is computed, for the log: "bfloat16 on a CPU with AVX512-BF16".
        warning: Sentence for the user if the choice is slow.
    """

    precision: Precision
    reason: str
    warning: str | None = None


def choose_precision(asked: Precision, *, has_gpu: bool, cpu_flags: Collection[str]) -> ChosenPrecision:
    """Return the floating-point type: as asked, or by hardware.

    auto is float16 on a GPU, bfloat16 on a CPU that has it in hardware, else float32.

    Args:
        asked: The parameter.
        has_gpu: Whether this process has a GPU.
        cpu_flags: Flags of the CPU, as in /proc/cpuinfo.

    Raises:
        ModelError: If float16 is asked for without a GPU.
    """
    if has_gpu:
        precision: Precision = "float16" if asked == "auto" else asked
        return ChosenPrecision(precision, f"{precision} on a GPU")
    if asked == "float16":
        raise ModelError("precision is float16, but this worker has no GPU. Set it to auto, bfloat16 or float32.")
    unit = next((name for flag, name in BFLOAT16_FLAGS.items() if flag in cpu_flags), None)
    if asked == "float32" or (asked == "auto" and not unit):
        return ChosenPrecision("float32", "float32 on a CPU")
    if unit:
        return ChosenPrecision("bfloat16", f"bfloat16 on a CPU with {unit}")
    return ChosenPrecision(
        "bfloat16",
        "bfloat16 on a CPU",
        "precision is bfloat16, but this CPU has neither AMX nor AVX512-BF16: it is slower than float32 here. "
        "Set it to auto.",
    )
