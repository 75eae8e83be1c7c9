"""Reads a file of weights that PyTorch wrote before its version 1.6, without PyTorch.

    pickle   a magic number
    pickle   the version of the format
    pickle   {"little_endian": true, ...}
    pickle   {name: tensor}: views of storages, which a tensor names by their keys
    pickle   [key], the storages in the order in which they follow
    for each storage: its number of values, int64, and these values

A pickle may call any function that it names. In these, nothing can be named but tensors, storages and OrderedDict.
"""

import collections
import io
import math
import pickle
from typing import Any, NamedTuple

import numpy as np

from multihot.errors import UserError

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
# By the name of a storage in the file.
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Tensor(NamedTuple):
    """A tensor whose values follow later in the file. Offset and strides are numbers of values."""

    storage: "_Storage"
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Storage(NamedTuple):
    dtype: str
    key: str
    num_values: int


def parse(content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a file of PyTorch before 1.6.

    Raises:
        UserError: it is not such a file, or has anything but tensors.
    """
    file = io.BytesIO(content)
    try:
        for expected in (_MAGIC, _VERSION):
            if _Unpickler(file).load() != expected:
                raise pickle.UnpicklingError("it does not begin as such a file does")
        if _Unpickler(file).load()["little_endian"] is not True:
            raise pickle.UnpicklingError("it is not little-endian")
        found = dict(_Unpickler(file).load())
        if not all(isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in found.items()):
            raise pickle.UnpicklingError("it has other objects than tensors")
        dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in found.values()}
        storages = {key: _values(file, dtypes[key]) for key in _Unpickler(file).load()}
        return {name: _view(storages[tensor.storage.key], tensor) for name, tensor in found.items()}
    except Exception as error:  # A pickle that is damaged or hostile raises anything.
        raise UserError(f"This is not a file of weights as PyTorch wrote them before 1.6: {error!r}") from error


class _Unpickler(pickle.Unpickler):
    """Reads a pickle that has tensors, dictionaries and plain values, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, device, num_values, view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or device != "cpu" or view is not None:
            raise pickle.UnpicklingError(f"{pid} is not a storage")
        return _Storage(str(dtype), str(key), int(num_values))


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: bool = False, hooks: object = None
) -> _Tensor:
    """Takes the arguments of torch._utils._rebuild_tensor_v2."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor is not a view of a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _values(file: io.BytesIO, dtype: str) -> np.ndarray:
    """Returns the values of the storage that comes next."""
    num_values = int.from_bytes(file.read(8), "little")
    content = file.read(num_values * np.dtype(dtype).itemsize)
    if len(content) < num_values * np.dtype(dtype).itemsize:
        raise pickle.UnpicklingError("it ends too early")
    return np.frombuffer(content, dtype)


def _view(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """Returns a tensor as an array of its own."""
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min(tensor.offset, *tensor.shape, *tensor.strides, 0) < 0 or not math.prod(tensor.shape) or last >= len(values):
        raise pickle.UnpicklingError(f"a tensor of shape {tensor.shape} reaches beyond its storage")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()
