import pytest

from tasks.core.catalog import Precision
from tasks.core.errors import ModelError
from tasks.core.precision import choose_precision


@pytest.mark.parametrize(
    ("asked", "has_gpu", "flags", "chosen"),
    [
        ("auto", True, [], "float16"),
        ("auto", False, ["avx2", "amx_bf16"], "bfloat16"),
        ("auto", False, ["avx2", "avx512_bf16"], "bfloat16"),
        ("auto", False, ["avx2", "avx512f"], "float32"),
        ("float32", True, [], "float32"),
        ("bfloat16", True, [], "bfloat16"),
        ("float32", False, ["amx_bf16"], "float32"),
        ("bfloat16", False, ["amx_bf16"], "bfloat16"),
    ],
)
def test_hardware_decides_only_where_it_is_asked_to(
    asked: Precision, has_gpu: bool, flags: list[str], chosen: Precision
) -> None:
    """Auto takes the fastest type that the hardware has; any other choice is kept, and none of these warns."""
    found = choose_precision(asked, has_gpu=has_gpu, cpu_flags=flags)
    assert (found.precision, found.warning) == (chosen, None)
    assert found.reason.startswith(chosen)


def test_emulated_bfloat16_warns() -> None:
    """On a CPU without it bfloat16 is done as asked, with the sentence that it is slow."""
    found = choose_precision("bfloat16", has_gpu=False, cpu_flags=["avx2"])
    assert found.precision == "bfloat16"
    assert found.warning
    assert "Set it to auto" in found.warning


def test_float16_needs_a_gpu() -> None:
    """Without one it is refused, and the sentence says what to set."""
    with pytest.raises(ModelError, match=r"no GPU\. Set it to auto"):
        choose_precision("float16", has_gpu=False, cpu_flags=["amx_bf16"])
