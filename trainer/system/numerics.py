"""Sets how Keras computes, whatever its own file of settings and its environment variables say.

Keras reads ~/.keras/keras.json (or that of KERAS_HOME), which other programs may have written. The order of the axes,
the type of the weights and the epsilon of the losses change the model that is trained, and config.json does not record
them. KERAS_MAX_EPOCHS and KERAS_MAX_STEPS_PER_EPOCH end a training early, while config.json has the value of --epochs.
"""

import keras
import tensorflow as tf

from multihot.errors import UserError
from trainer.system import devices

_BACKEND = "tensorflow"


def fix(precision: str = "float32") -> None:
    """Sets the global settings of Keras: channels last, an epsilon of 1e-7, all epochs and all their steps.

    Args:
        precision: in which models compute that are built from now on, as Keras names it; their weights are float32.

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
    keras.config.set_dtype_policy(precision)
    keras.config.set_epsilon(1e-7)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


def choose_for_predictions(precision: str) -> bool:
    """Chooses the type in which models of float32 compute from now on, in this process.

    The weights and the results stay float32. TensorFlow computes convolutions and products in bfloat16, and what is
    between them. A model of Keras that is built in bfloat16 has the same scores, and needs a quarter more time.

    Args:
        precision: `float32`; or `auto`, which is bfloat16 if this is a processor that computes in it fast.

    Returns:
        Whether it is bfloat16.
    """
    is_fast = precision == "auto" and devices.processor_computes_bfloat16_fast()
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": is_fast})
    return is_fast


def make_deterministic(seed: int) -> None:
    """Lets the same operations give the same bits from now on, in this process. Some of them become slower.

    Args:
        seed: of random operations without a seed of their own.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
