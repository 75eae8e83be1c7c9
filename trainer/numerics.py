"""Sets how Keras computes, whatever its own file of settings says.

Keras reads ~/.keras/keras.json (or that of KERAS_HOME), which other programs may have written. The order of the axes,
the type of weights and the epsilon of the losses decide about what is trained, and no config.json would tell.
"""

import keras

from multihot.errors import UserError

_BACKEND = "tensorflow"


def fix() -> None:
    """Sets what Keras has as global settings: channels last, float32, an epsilon of 1e-7.

    Raises:
        UserError: Keras was imported before `trainer`, with another backend.
    """
    if keras.config.backend() != _BACKEND:
        raise UserError(
            f"Keras was imported with the backend {keras.config.backend()!r}, and multihot needs {_BACKEND!r}. "
            f"Import trainer first, or set KERAS_BACKEND={_BACKEND}."
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
