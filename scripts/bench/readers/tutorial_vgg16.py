"""The tutorial's training: its pipeline, a frozen VGG16, ten epochs. Prints a line of JSON.

    python tutorial_vgg16.py FOLDER WEIGHTS

FOLDER is that of same_images.py; WEIGHTS is a file, or `none`: random, the same as those of `trainer --seed=42`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tutorial import dataset, files

_EPOCHS = 10


class Times(tf.keras.callbacks.Callback):
    """When each epoch ended, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the time."""
        self.ends.append(time.perf_counter())


def model(number_of_classes: int, weights: str) -> tf.keras.Model:
    """Returns the tutorial's model, compiled."""
    base_model = tf.keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), include_top=False)
    if weights != "none":
        base_model.load_weights(weights)
    base_model.trainable = False
    inputs = tf.keras.Input(shape=(32, 32, 3))
    x = base_model(inputs, training=False)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    initializer = tf.keras.initializers.GlorotUniform(seed=42)
    activation = tf.keras.activations.softmax
    outputs = tf.keras.layers.Dense(number_of_classes, kernel_initializer=initializer, activation=activation)(x)
    made = tf.keras.Model(inputs, outputs)
    made.compile(
        optimizer=tf.keras.optimizers.Adam(),
        loss=tf.keras.losses.CategoricalCrossentropy(),
        metrics=[tf.keras.metrics.CategoricalAccuracy()],
    )
    return made


def _shaped(batches: tf.data.Dataset, num_classes: int) -> tf.data.Dataset:
    """Says what shapes come out of the tutorial's py_function: Keras 3 must know, the Keras of its time did not."""
    return batches.map(
        lambda images, labels: (
            tf.ensure_shape(images, [None, 32, 32, 3]),
            tf.ensure_shape(labels, [None, num_classes]),
        )
    )


def main(folder: str, weights: str) -> None:
    """Trains."""
    tf.keras.utils.set_random_seed(42)
    csv = Path(folder, "labels.csv")
    num_classes = len(csv.read_text().partition("\n")[0].split(",")) - 1
    train, test = (_shaped(dataset(csv, files(folder, split)), num_classes) for split in ("train", "validation"))
    times, network = Times(), model(num_classes, weights)
    history = network.fit(train, validation_data=test, epochs=_EPOCHS, verbose=0, callbacks=[times]).history
    print(json.dumps({"ends": times.ends, "loss": history["loss"], "val_loss": history["val_loss"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
