"""Trains with each loss on drawn images of rare classes: `python scripts/bench/rare_classes.py [--seeds=0,1,2]`.

A class is the hue of a spot. One image in 200 has it, beside spots of other hues. A third of the labels of the training
images is unknown. With --lookalikes, some of the other spots have the hue of a class too: the images do not show which,
so that no model can be sure of a class.
"""

import argparse
import colorsys
from typing import Any

import numpy as np
import sklearn.metrics
from PIL import Image, ImageDraw

from multihot.quiet import quiet
from schemas.example import UNKNOWN
from schemas.statistics import Moments, Statistics

with quiet():
    import keras
    import tensorflow as tf

    from trainer import losses, metrics
    from trainer.config import TrainConfig
    from trainer.inference import Predictor
    from trainer.training import compilation

_ROWS: dict[str, dict[str, Any]] = {
    "binary_crossentropy": {},
    "--positive_weights=balanced": {"positive_weights": "balanced"},
    "--loss=asymmetric": {"loss": "asymmetric"},
    "--label_smoothing=0.1": {"label_smoothing": 0.1},
}
_SIZE, _BATCH = 24, 64
# Of the classes: shares of the circle of colours.
_HUES = (0.0, 0.2, 0.4, 0.6, 0.8)


def main() -> None:
    """Prints mean average precision, recall and F1 score at 0.5: mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--images", type=int, default=8000, help="for training, and as many for validation")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--lookalikes", type=float, default=0.0, help="share of the other spots")
    parser.add_argument("--only", default="")
    flags = parser.parse_args()
    rng = np.random.default_rng(0)
    train, validation = (draw(flags.images, rng, flags.lookalikes) for _ in range(2))
    hidden = np.where(rng.random(train[1].shape) < 1 / 3, UNKNOWN, train[1]).astype(np.float32)
    for name, changes in _ROWS.items():
        if flags.only in name:
            found = []
            for seed in map(int, flags.seeds.split(",")):
                settings = {"batch_size": _BATCH, "epochs": flags.epochs, "learning_rate": 0.01, **changes}
                config = TrainConfig(data=("drawn",), output="none", seed=seed, **settings)
                found.append(_result(config, (train[0], hidden), validation))
                print("  ", name, seed, found[-1].round(3), flush=True)
            figures = " | ".join(
                f"{mean:.3f} ± {spread:.3f}"
                for mean, spread in zip(np.mean(found, axis=0), np.std(found, axis=0, ddof=1), strict=True)
            )
            print(f"| `{name}` | {figures} |", flush=True)


def draw(number: int, rng: np.random.Generator, lookalikes: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns images uint8 [n, 24, 24, 3] and labels float32 [n, k]."""
    labels, images = rng.random((number, len(_HUES))) < 1 / 200, np.empty((number, _SIZE, _SIZE, 3), np.uint8)
    for image, row in zip(images, labels, strict=True):
        canvas = Image.new("RGB", (_SIZE, _SIZE), (int(rng.integers(40, 216)),) * 3)
        hues = [_HUES[i] + rng.uniform(-0.02, 0.02) for i in np.flatnonzero(row)]
        for _ in range(rng.integers(1, 4)):
            hue, away = _HUES[rng.integers(len(_HUES))], rng.uniform(0.08, 0.12)
            # Drawn only with look-alikes, so that the images without them stay as they are.
            if lookalikes and rng.random() < lookalikes:
                away = rng.uniform(-0.02, 0.02)
            hues.append(float(hue + away))
        for hue in rng.permutation(hues):
            x, y = rng.uniform(0, _SIZE - 7, 2)
            width, height = rng.uniform(4, 9, 2)
            red, green, blue = (
                round(255 * value) for value in colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.7, 1), rng.uniform(0.6, 1))
            )
            ImageDraw.Draw(canvas).ellipse((x, y, x + width, y + height), fill=(red, green, blue))
        image[:] = (np.asarray(canvas) + rng.normal(0, 8, (_SIZE, _SIZE, 3))).clip(0, 255)
    return images, labels.astype(np.float32)


def _network(config: TrainConfig, statistics: Statistics) -> keras.Model:
    """Returns a model that is small enough for many trainings."""
    keras.utils.set_random_seed(config.seed)
    inputs = keras.Input((_SIZE, _SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for filters in (16, 32, 64):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.GlobalMaxPooling2D()(x)
    prior = keras.initializers.Constant(losses.prior_logits(config, statistics))
    return keras.Model(inputs, keras.layers.Dense(len(_HUES), activation="sigmoid", bias_initializer=prior)(x))


def _result(
    config: TrainConfig, train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Returns the mean average precision, the F1 score and the hamming loss after a training."""
    images, labels = train
    statistics = Statistics(
        positives=tuple((labels == 1).sum(axis=0).tolist()),
        unknown=tuple((labels == UNKNOWN).sum(axis=0).tolist()),
        example_bytes=Moments(count=len(labels)),
    )
    network = _network(config, statistics)
    network.compile(
        compilation.optimizer(network, config, len(images) // _BATCH),
        losses.make(config, statistics, has_unknown=True),
        jit_compile=False,
    )
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=config.seed)
    batches = batches.map(lambda image, label: (tf.image.random_flip_left_right(image, config.seed), label))
    network.fit(batches.batch(_BATCH, drop_remainder=True), epochs=config.epochs, shuffle=False, verbose=0)
    data = tf.data.Dataset.from_tensor_slices(validation).batch(500)
    predictions = Predictor(network, data, len(images))()
    evaluation = metrics.evaluate(predictions, tuple(map(str, _HUES)))
    _, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        predictions.labels, predictions.scores >= metrics.THRESHOLD, average="macro", zero_division=0.0
    )
    return np.array([evaluation["mean_average_precision"], recall, f1])


if __name__ == "__main__":
    main()
