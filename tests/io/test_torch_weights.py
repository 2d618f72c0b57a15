"""Weight files of PyTorch: small ones written by hand, damaged ones, and ones that would run code."""

import pickle
import pickletools
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import ModelError
from tasks.io.torch_weights import MAGIC_NUMBER, PROTOCOL_VERSION, read_state_dict

VALUES = np.arange(1, 7, dtype="<f4")
COUNTS = np.array([7], "<i8")
SYSTEM = {"protocol_version": PROTOCOL_VERSION, "little_endian": True}


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


def _numbers(*values: int) -> bytes:
    return pickle.MARK + b"".join(pickle.BININT + struct.pack("<i", value) for value in values) + pickle.TUPLE


def _tensor(
    key: str, n_values: int, *, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str = "Float"
) -> bytes:
    """Return the opcodes of `_rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())`."""
    storage = pickle.MARK + _text("storage") + b"ctorch\n" + f"{dtype}Storage\n".encode() + _text(key) + _text("cpu")
    storage += pickle.BININT + struct.pack("<i", n_values) + pickle.NONE + pickle.TUPLE + pickle.BINPERSID
    hooks = b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = storage + pickle.BININT + struct.pack("<i", offset) + _numbers(*shape) + _numbers(*strides)
    arguments += pickle.NEWFALSE + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + pickle.MARK + arguments + pickle.TUPLE + pickle.REDUCE


def _dictionary(**tensors: bytes) -> bytes:
    """Return the pickle of an ordered dictionary of what the opcodes make."""
    items = b"".join(_text(name) + opcodes for name, opcodes in tensors.items())
    empty = b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    return pickle.PROTO + b"\x02" + empty + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _file(tensors: bytes, **storages: np.ndarray) -> bytes:
    """Return a weight file as `torch.save` wrote it, from the pickle of its tensors and its storages by key."""
    head = [pickle.dumps(value, protocol=2) for value in (MAGIC_NUMBER, PROTOCOL_VERSION, SYSTEM)]
    stored = [struct.pack("<q", values.size) + values.tobytes() for values in storages.values()]
    return b"".join([*head, tensors, pickle.dumps(list(storages), protocol=2), *stored])


ROWS = _tensor("a", 6, offset=0, shape=(2, 3), strides=(3, 1))
PLAIN = _file(_dictionary(rows=ROWS), a=VALUES)


def test_strides_and_offsets_are_honoured() -> None:
    """Tensors lie in their storages as their strides say: by rows, by columns, beside each other, or as one number."""
    content = _file(
        _dictionary(
            rows=ROWS,
            columns=_tensor("a", 6, offset=0, shape=(2, 3), strides=(1, 2)),
            tail=_tensor("a", 6, offset=4, shape=(2,), strides=(1,)),
            count=_tensor("b", 1, offset=0, shape=(), strides=(), dtype="Long"),
        ),
        a=VALUES,
        b=COUNTS,
    )
    found = read_state_dict(content)
    assert list(found) == ["rows", "columns", "tail", "count"]
    np.testing.assert_array_equal(found["rows"], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found["columns"], [[1, 3, 5], [2, 4, 6]])
    np.testing.assert_array_equal(found["tail"], [5, 6])
    assert (found["count"].shape, int(found["count"]), found["count"].dtype) == ((), 7, np.int64)
    assert all(tensor.flags.c_contiguous for tensor in found.values())
    assert found["columns"].dtype == np.float32


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        ({"offset": 0, "shape": (7,), "strides": (1,)}, "repeats the 6 values"),
        ({"offset": 1, "shape": (2, 3), "strides": (3, 1)}, "ends at value 6 of a storage of 6"),
        ({"offset": 0, "shape": (2, 3), "strides": (4, 1)}, "ends at value 6 of a storage of 6"),
        ({"offset": 5, "shape": (2,), "strides": (-1,)}, "negative"),
        ({"offset": -1, "shape": (2,), "strides": (1,)}, "negative"),
        ({"offset": 0, "shape": (1 << 20, 1 << 20), "strides": (0, 0)}, "repeats the 6 values"),
        ({"offset": 0, "shape": (2, 3), "strides": (1,)}, r"shape \(2, 3\) and strides \(1,\)"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tensor: dict[str, object], says: str) -> None:
    """Memory beside a storage is never read, nor a storage repeated until memory is full."""
    with pytest.raises(ModelError, match=says):
        read_state_dict(_file(_dictionary(rows=_tensor("a", 6, **tensor)), a=VALUES))  # type: ignore[arg-type]


def test_a_file_cut_off_anywhere_is_refused() -> None:
    """Wherever it ends too early, the answer is one sentence."""
    for n_bytes in range(len(PLAIN)):
        with pytest.raises(ModelError, match="no PyTorch weight file of the legacy format"):
            read_state_dict(PLAIN[:n_bytes])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PLAIN + b"\0", "goes on after its last storage"),
        (_file(_dictionary(rows=ROWS), a=VALUES[:5]), "storage of 6 values is damaged"),
        (_file(_dictionary(rows=ROWS), a=VALUES, b=COUNTS), "not those of its tensors"),
        (_file(_dictionary(rows=ROWS), b=VALUES), "not those of its tensors"),
        (PLAIN.replace(b"FloatStorage", b"HalfxStorage"), "torch.HalfxStorage"),
        (PLAIN.replace(pickle.dumps(MAGIC_NUMBER, protocol=2), pickle.dumps(1, protocol=2)), "does not begin as"),
        (_file(pickle.dumps({"rows": 1}, protocol=2), a=VALUES), "no attribute"),
        (b"PK\3\4 as torch.save writes since 1.6", "legacy format"),
    ],
)
def test_another_file_is_refused(content: bytes, says: str) -> None:
    """Bytes left over, missing or of another kind are never taken for weights."""
    with pytest.raises(ModelError, match=says):
        read_state_dict(content)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch '{self.trace}'",)


def test_a_hostile_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    """A pickle that refers to anything but tensors is refused by what it refers to; an ordinary reader runs it."""
    trace = tmp_path / "was-run"
    hostile = pickle.dumps(OrderedDict(rows=Hostile(trace)), protocol=2)
    for content in (hostile, _file(hostile, a=VALUES)):
        with pytest.raises(ModelError, match=r"posix\.system, which is no part of a weight file"):
            read_state_dict(content)
    assert not trace.exists()
    pickle.loads(hostile)  # noqa: S301  # to show that it would have run
    assert trace.exists()


@pytest.mark.parametrize("name", ["builtins eval", "torch load", "torch._utils _rebuild_qtensor", "collections deque"])
def test_any_other_global_is_refused(name: str) -> None:
    """Neighbours of what is allowed are not."""
    module, attribute = name.split()
    content = pickle.PROTO + b"\x02c" + f"{module}\n{attribute}\n".encode() + pickle.STOP
    assert "GLOBAL" in {opcode.name for opcode, _, _ in pickletools.genops(content)}
    with pytest.raises(ModelError, match=f"{module}.{attribute}"):
        read_state_dict(content)
