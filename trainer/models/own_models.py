"""Imports the function of a user that builds a model, calls it, and checks what it returns.

An error in the user's code becomes a message with the exception and the line of the user's file, without a traceback.
"""

import importlib
import importlib.machinery
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from multihot.errors import UserError
from multihot.printable import one_line
from schemas import example
from trainer.models import loadable

_IDENTIFIER = r"[^\W\d]\w*"
_NAME = re.compile(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*:{_IDENTIFIER}")


class OwnModel(NamedTuple):
    """A model that the function of a user has built.

    Attributes:
        network: from float32 [batch, height, width, 3], pixels from 0 to 255, to its outputs.
        has_head: whether these are probabilities [batch, k]; otherwise maps [batch, height, width, channels].
    """

    network: keras.Model
    has_head: bool


def is_own(name: str) -> bool:
    """Returns whether a name of a model is that of a function, as in my_package.my_module:build."""
    return ":" in name


def build(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    softmax: bool,
    train_sizes: Collection[int] = (),
) -> OwnModel:
    """Imports a function, from the current folder too, and builds a model with it.

    Args:
        name: MODULE:FUNCTION.
        image_shape: height, width and channels, the first argument of the function.
        num_classes: its second argument.
        softmax: whether the loss is that of a softmax, so that the probabilities of an image must add up to 1.
        train_sizes: heights and widths of training images that are smaller, pixels.

    Raises:
        UserError: there is no such function, it raises an exception, or it returns anything but such a model; or the
            model could not be loaded from its file.
    """
    function = find(name)
    network = _called(name, function, image_shape, num_classes)
    if not isinstance(network, keras.Model):
        raise UserError(f"--model={name} must return a Keras model. It has returned: {type(network).__name__}")
    if network.name in (example.IMAGE, example.LABELS):
        raise UserError(
            f"The model of --model={name} has the name {network.name!r}, which is that of a layer of multihot. Give it "
            'another one: keras.Model(..., name="mine").'
        )
    outputs = _outputs(name, network, image_shape)
    _check_sizes(name, network, {image_shape[0], *train_sizes})
    has_head = outputs.ndim != 4
    if has_head:
        _check_head(name, network, outputs, num_classes, softmax)
    try:
        loadable.check(network)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        raise UserError(
            f"The model of --model={name} could not be loaded from its file after the training: {loadable.cause(error)}"
        ) from error
    return OwnModel(network, has_head)


def find(name: str) -> Callable[..., Any]:
    """Imports a function, from the current folder too.

    Args:
        name: MODULE:FUNCTION.

    Raises:
        UserError: there is no such function, or its module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    if not _NAME.fullmatch(name) or module_name.endswith(".py"):
        raise UserError(
            f"--model={name} must be MODULE:FUNCTION, with the name of a module in place of its path: my_module:build "
            "for my_module.py in the current folder, my_package.my_module:build for a file of a package."
        )
    folder = os.getcwd()
    # `python -m trainer` looks in the current folder; the command `multihot train` does not.
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise UserError(
                f"--model={name}: there is no module {missing}, neither in the current folder ({folder}) nor among the "
                "installed packages."
            ) from error
        raise _failed(f"--model={name}: {module_name} cannot be imported", name, error) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        raise UserError(
            f"--model={name}: {_readable(module.__file__)} has no function {function_name}. "
            f"It has: {', '.join(functions) or 'no function'}"
        )
    return function


def _called(name: str, function: Callable[..., Any], image_shape: tuple[int, int, int], num_classes: int) -> Any:
    """Returns what the function returns; by the names of its parameters, they may have another order."""
    named = {"image_shape": image_shape, "num_classes": num_classes}
    try:
        signature = inspect.signature(function)
        bound = (
            signature.bind(**named) if named.keys() <= signature.parameters.keys() else signature.bind(*named.values())
        )
    except TypeError:
        raise UserError(
            f"--model={name} must take two arguments, image_shape and num_classes. It is "
            f"{function.__name__}{inspect.signature(function)}."
        ) from None
    try:
        return function(*bound.args, **bound.kwargs)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except (Exception, SystemExit) as error:
        shape = ", ".join(map(str, image_shape))
        raise _failed(f"--model={name} failed for images ({shape}) and {num_classes} classes", name, error) from error


def _outputs(name: str, network: keras.Model, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Returns the outputs of a network for a black image, a white one, and two of noise."""
    images = np.random.default_rng(0).integers(0, 256, (4, *image_shape)).astype(np.float32)
    images[:2] = [[[[0]]], [[[255]]]]
    try:
        outputs = network(images, training=False)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        raise _failed(f"The model of --model={name} cannot take images {list(images.shape)}", name, error) from error
    found = keras.tree.flatten(outputs)
    if len(found) != 1:
        raise UserError(f"The model of --model={name} must have one output. It has {len(found)}.")
    return np.asarray(keras.ops.convert_to_numpy(found[0])).astype(np.float32)


def _check_sizes(name: str, network: keras.Model, sizes: Collection[int]) -> None:
    """Checks that a network leaves something of the smallest images, and takes images that grow."""
    any_size = getattr(network, "input_shape", ())[1:3] == (None, None)
    if not any_size and len(sizes) == 1:
        return
    # As a training whose images grow calls it. TensorFlow may compute a convolution of maps that are too small for it,
    # and fail at its gradient: shapes that are known tell before.
    traced = tf.function(lambda images: network(images, training=False))
    of_any_size = tf.TensorSpec([None, None, None, 3], tf.float32)
    for size in sorted(sizes):
        try:
            if any_size:
                network.compute_output_shape((None, size, size, 3))
            else:
                traced.get_concrete_function(of_any_size)(tf.zeros((1, size, size, 3)))
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception as error:
            raise _failed(f"The model of --model={name} cannot take images of {size} pixels", name, error) from error


def _check_head(name: str, network: keras.Model, outputs: np.ndarray, num_classes: int, softmax: bool) -> None:
    if outputs.shape[1:] != (num_classes,):
        shape = ", ".join(["batch", *map(str, outputs.shape[1:])])
        raise UserError(
            f"--model={name} has outputs of the shape [{shape}]. They must be [batch, height, width, channels], to "
            f"which multihot adds a head, or probabilities [batch, {num_classes}]."
        )
    _check_probabilities(name, network, outputs, softmax)


def _check_probabilities(name: str, network: keras.Model, outputs: np.ndarray, softmax: bool) -> None:
    num_classes = outputs.shape[1]
    activation = "softmax" if softmax else "sigmoid"
    wrong = _wrong_activation(network)
    # Before a training, other outputs may happen to be from 0 to 1.
    if wrong or not np.all((outputs >= 0) & (outputs <= 1)):
        found = wrong or f"they go from {outputs.min():g} to {outputs.max():g}"
        raise UserError(
            f"The outputs of --model={name} must be probabilities, but {found}. The last layer can be "
            f'keras.layers.Dense({num_classes}, activation="{activation}").'
        )
    sums = outputs.sum(axis=1)
    if softmax and not np.allclose(sums, 1, atol=1e-2):
        raise UserError(
            f"The outputs of --model={name} must add up to 1 for each image, as those of a softmax, for this --loss. "
            f"They add up to {sums.min():g} to {sums.max():g}."
        )


def _wrong_activation(network: keras.Model) -> str:
    """Returns what the last layer has, if that is an activation of Keras which gives no probabilities."""
    last = network.layers[-1] if network.layers else None
    if not isinstance(last, keras.layers.Dense) or last.activation not in vars(keras.activations).values():
        return ""
    if last.activation in (keras.activations.sigmoid, keras.activations.hard_sigmoid, keras.activations.softmax):
        return ""
    if last.activation is keras.activations.linear:
        return "its last layer has no activation"
    return f"its last layer has the activation {last.activation.__name__}"


def _failed(what: str, name: str, error: BaseException) -> UserError:
    """Returns the error for an exception in the user's code."""
    # The text of a SyntaxError has a place of its own.
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    reason = one_line(text, 500)
    place = _place(name, error)
    return UserError(f"{what}: {type(error).__name__}{f': {reason}' if reason else ''}{f' ({place})' if place else ''}")


def _place(name: str, error: BaseException) -> str:
    """Returns the file and the line where the user's code raised an exception, or called what did; "" if unknown."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_readable(error.filename)}, line {error.lineno}"
    spec = importlib.machinery.PathFinder.find_spec(re.split("[.:]", name)[0])
    folders = [*(spec.submodule_search_locations or []), spec.origin] if spec else []
    others = [str(Path(__file__).parents[1]), *(sysconfig.get_path(path) for path in ("stdlib", "purelib", "platlib"))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        theirs = any(folder and frame.filename.startswith(folder) for folder in folders)
        if theirs or not frame.filename.startswith(("<", *others)):
            return f"{_readable(frame.filename)}, line {frame.lineno}"
    return ""


def _readable(path: str | None) -> str:
    """Returns a path as seen from the current folder, if it is in it."""
    if not path:
        return "the module"
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
