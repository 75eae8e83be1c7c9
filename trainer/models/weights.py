"""Gives a backbone the weights of a file: of a backbone, or of a whole model, as that of an earlier run.

Keras writes the variables of a model by the classes and the order of its layers, in HDF5:

    layers/conv2d/vars/0                    of a backbone
    layers/functional/layers/conv2d/vars/0  of a model that has this backbone as one of its layers
    layers/dense/vars/0                     its head

Only these values are read: no object that a file describes is made.
"""

import contextlib
import io
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from multihot.errors import UserError
from multihot.printable import one_line
from schemas import example
from trainer import earlier_run

# In a .keras file, the part that is a file of weights.
_WEIGHTS = "model.weights.h5"


class Head(NamedTuple):
    """The head of an earlier run.

    Attributes:
        classes: of its outputs, in their order.
        values: its kernel [d, k] and its bias [k].
    """

    classes: tuple[str, ...]
    values: tuple[np.ndarray, np.ndarray]

    def give_to(self, layer: keras.layers.Layer, classes: Sequence[str]) -> bool:
        """Gives a layer these weights, if they are for the same classes. Returns whether they are."""
        same = self.classes == tuple(classes) and [value.shape for value in self.values] == [
            tuple(variable.shape) for variable in layer.weights
        ]
        if same:
            layer.set_weights(self.values)
        return same


def load(backbone: keras.Model, path: str) -> Head | None:
    """Gives a backbone the weights of a file, or of a run by its folder.

    Args:
        backbone: that gets the weights.
        path: value of --weights.

    Returns:
        The head that belongs to these weights, if they are those of a run.

    Raises:
        UserError: there is no such file, or it does not fit.
    """
    file = earlier_run.weights_file(path)
    try:
        _load_variables(backbone, file)
        return None
    except Exception as error:  # Zip, HDF5 and Keras each have their own for a file that is something else.
        reason: Exception = error
    run = earlier_run.find(path)
    with contextlib.suppress(OSError, KeyError, zipfile.BadZipFile), _opened(file) as whole:
        for part in whole.get("layers", {}).values():
            if not any(isinstance(value, h5py.Group) for name, value in part.items() if name != "vars"):
                continue
            try:
                _load_part(backbone, part)
            except Exception as error:
                reason = error
            else:
                return _head(whole, run.classes) if run else None
    described = f" It is that of --model={run.model}." if run else ""
    raise UserError(
        f"--weights={path} does not fit {backbone.name} without its top: {one_line(reason)}{described}"
    ) from reason


def has_layer(path: str, kind: str) -> bool:
    """Returns whether a file of weights has those of a layer of a class, at any depth.

    Args:
        path: value of --weights.
        kind: the class as files name it, as in batch_normalization.
    """
    file = earlier_run.weights_file(path)
    with contextlib.suppress(OSError, KeyError, zipfile.BadZipFile), _opened(file) as whole:
        # `visit` ends at the first name for which the function returns something.
        return bool(whole.visit(lambda name: name.rpartition("/")[2] == kind or None))
    return False


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[h5py.File]:
    """Opens the variables of a .keras or of a .weights.h5 file."""
    content = zipfile.ZipFile(file).read(_WEIGHTS) if zipfile.is_zipfile(file) else file.read_bytes()
    with h5py.File(io.BytesIO(content)) as opened:
        yield opened


def _load_part(backbone: keras.Model, part: h5py.Group) -> None:
    """Gives a backbone the variables of one layer of a model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, _WEIGHTS)
        with h5py.File(file, "w") as of_part:
            for name in part:
                part.copy(name, of_part)
        _load_variables(backbone, file)


def _load_variables(backbone: keras.Model, file: Path) -> None:
    """Gives a backbone the variables of a file that has those of its layers.

    Keras warns that layers keep the weights that they have before it finds that the file does not fit: as where a whole
    model is tried as a backbone. If the file does not fit, another one is tried, and the warnings say nothing true.
    """
    with warnings.catch_warnings(record=True) as held:
        warnings.simplefilter("always")
        backbone.load_weights(file)
    for one in held:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _head(whole: h5py.File, classes: tuple[str, ...]) -> Head | None:
    for layer in whole["layers"].values():
        variables = layer.get("vars", {})
        if len(variables) == 2 and variables.attrs.get("name") == example.LABELS:
            return Head(classes, (variables["0"][:], variables["1"][:]))
    return None
