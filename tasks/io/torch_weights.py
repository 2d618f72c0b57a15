"""Weight files of PyTorch, read without PyTorch: a restricted pickle names the tensors, raw storages hold them.

Source of the layout: `_legacy_save` and `_legacy_load` of torch/serialization.py, PyTorch 1.0 to 1.5. A file is five
pickles (magic number, protocol, system, tensors by name, keys of the storages), then each storage: its number of values
as int64, then the values.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.errors import ModelError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
DTYPES: dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
"""Type of the values of each kind of storage."""

N_DIMENSIONS = 8
"""Most dimensions of a tensor that is read; a convolution has four."""

MALFORMED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What a damaged pickle raises when it is read."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """Storage as the pickle describes it: its key, type and number of values."""

    key: str
    dtype: np.dtype
    n_values: int


@dataclass(frozen=True, slots=True)
class _View:
    """Tensor as the pickle describes it: a part of a storage; offset and strides count values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the tensor, contiguous, from the values of its storage.

        Raises:
            ValueError: If it reaches outside the storage, which numpy would not notice.
        """
        if len(self.shape) != len(self.strides) or len(self.shape) > N_DIMENSIONS:
            raise ValueError(f"a tensor has shape {self.shape} and strides {self.strides}")
        if min((self.offset, *self.shape, *self.strides)) < 0:
            raise ValueError("a tensor has a negative offset, size or stride")
        if math.prod(self.shape) > len(values):
            raise ValueError(f"a tensor of shape {self.shape} repeats the {len(values)} values of its storage")
        if 0 in self.shape:
            return np.empty(self.shape, values.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if last >= len(values):
            raise ValueError(f"a tensor ends at value {last} of a storage of {len(values)}")
        steps = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """Unpickler of ordered dictionaries of tensors; any other class or function is refused and never run."""

    def find_class(self, module: str, name: str) -> object:
        """Return what a global of the pickle stands for."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in {"_rebuild_tensor", "_rebuild_tensor_v2"}:
            return _view
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no part of a weight file")

    def persistent_load(self, pid: Any) -> _Storage:  # Any: what the pickle says
        """Return the storage of a persistent id: (kind, type, key, device, number of values, view of another one)."""
        kind, dtype, key, _, n_values = pid[:5]
        if kind != "storage" or pid[5:] not in ((), (None,)):
            raise pickle.UnpicklingError("it has a persistent id that is no storage of its own")
        return _Storage(str(key), DTYPES[dtype], int(n_values))


def _view(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> _View:
    """Stand in for torch._utils._rebuild_tensor_v2, whose further arguments concern gradients."""
    return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def read_state_dict(content: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a weight file by name, contiguous, float32 or int64.

    Args:
        content: A file that `torch.save` wrote in its format before version 1.6, from a state dict.

    Raises:
        ModelError: If it is anything else, is damaged, or refers to code other than tensors.
    """
    stream = io.BytesIO(content)
    try:
        magic, protocol, system, views, keys = (_Unpickler(stream).load() for _ in range(5))
        if (magic, protocol) != (MAGIC_NUMBER, PROTOCOL_VERSION) or not system["little_endian"]:
            raise ValueError("it does not begin as a legacy, little-endian file does")
        storages = _read_storages(stream, keys, {view.storage for view in views.values()})
        return {str(name): view.of(storages[view.storage.key]) for name, view in views.items()}
    except MALFORMED as err:
        raise ModelError(f"These {len(content)} bytes are no PyTorch weight file of the legacy format: {err}.") from err


def _read_storages(stream: io.BytesIO, keys: Sequence[str], described: Collection[_Storage]) -> dict[str, np.ndarray]:
    """Return the values of each storage, which fill the rest of the stream exactly."""
    by_key = {storage.key: storage for storage in described}
    if len(by_key) != len(described) or sorted(by_key) != sorted(keys):
        raise ValueError("its storages are not those of its tensors")
    storages = {key: _read_storage(stream, by_key[key]) for key in keys}
    if stream.read(1):
        raise ValueError("it goes on after its last storage")
    return storages


def _read_storage(stream: io.BytesIO, described: _Storage) -> np.ndarray:
    n_values = int.from_bytes(stream.read(8), "little", signed=True)
    content = stream.read(max(0, n_values) * described.dtype.itemsize)
    if n_values != described.n_values or len(content) != n_values * described.dtype.itemsize:
        raise ValueError(f"a storage of {described.n_values} values is damaged or cut off")
    return np.frombuffer(content, described.dtype)
