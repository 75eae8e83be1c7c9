"""Checks before a training that the file of its model can be loaded, and tells why one cannot.

Keras writes any layer to a file, and finds out what is missing when the file is loaded, after the training.
"""

import json
import random

import keras

from multihot.printable import one_line


def check(network: keras.Model) -> None:
    """Makes a copy of a model from what its file would say of it, and throws the copy away.

    Args:
        network: whose layers have their weights.

    Raises:
        Exception: of Keras or of the code of a layer, if there can be no file or no copy. `cause` has its reason.
    """
    state = random.getstate()
    try:
        keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(network))))
    finally:
        # Layers without a seed draw one: those that come after the check get the seeds that they had without it.
        random.setstate(state)


def cause(error: Exception) -> str:
    """Returns the cause of an error of Keras in a line.

    For a model inside a model, Keras tells of each of them, with its settings, and of the cause at the end.
    """
    _, told, inner = str(error).rpartition("Exception encountered: ")
    # Otherwise the first paragraph: examples may follow it.
    text = (
        inner.partition(" Full object config: ")[0].partition("\n")[0] if told else inner.strip().partition("\n\n")[0]
    )
    return one_line(text, 500) or type(error).__name__
