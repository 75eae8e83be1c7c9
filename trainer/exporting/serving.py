"""Builds the graph that serves a model: from encoded images to named probabilities and labels, with nothing around it.

    bytes -> turned upright by EXIF, laid on the background -> resized as in training -> model -> outputs by name

The graph has no Python and none of our packages, so it does less for an odd file than a prediction by
`python -m trainer.predict`: the docs (serving.md) list the differences.
"""

import keras
import tensorflow as tf

from multihot.images.background import parse_colour
from trainer.exporting import exif
from trainer.input import matrices
from trainer.input.decoding import ImageDecoder
from trainer.model_file import ModelInfo
from trainer.prediction import scoring

# Names of inputs and outputs. TensorFlow Serving reads inputs whose values are objects with `b64` as bytes.
IMAGES, BYTES = "images", "image_bytes"
CLASSES, PROBABILITIES, LABELS = "classes", "probabilities", "labels"


class Served(tf.Module):
    """A model with its preprocessing, class names and thresholds.

    Each function returns a dictionary of tensors [n, k]: `classes`, the names, string; `probabilities`, float32; and
    `labels`, bool: whether a probability reaches the threshold of its class.

    Attributes:
        of_bytes: from encoded images of any size and format that training takes: string [n].
        of_images: from images of one size, whatever it is: uint8 [n, height, width, 3].
    """

    def __init__(self, network: keras.Model, info: ModelInfo) -> None:
        """Wraps a model.

        Args:
            network: images -> probabilities [batch, k].
            info: what it takes, and what its outputs mean.
        """
        super().__init__()
        self._info = info
        self.network = network
        # TensorFlow finds no states of random generators in a model of Keras, which some layers also read to predict.
        self._states = [variable.value for variable in network.variables]
        self._decoder = ImageDecoder(size=info.image_size, exact=info.decode == "exact", resize=info.resize)
        self.of_bytes = tf.function(self._of_bytes, [tf.TensorSpec([None], tf.string, name=BYTES)])
        self.of_images = tf.function(self._of_images, [tf.TensorSpec([None, None, None, 3], tf.uint8, name=IMAGES)])

    def _of_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts on encoded images of any size and format that training takes: string [n]."""
        size = self._info.image_size
        images = tf.map_fn(self._decoded, image_bytes, fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8))
        return self._outputs(images)

    def _of_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts on images of one size, whatever it is: uint8 [n, height, width, 3]."""
        size = self._info.image_size
        fitted = tf.map_fn(self._decoder.fit, images, fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8))
        return self._outputs(fitted)

    def _outputs(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = scoring.probabilities(self.network, self._info, images)
        classes = tf.broadcast_to(tf.constant(self._info.classes), tf.shape(probabilities))
        thresholds = tf.constant(self._info.thresholds, tf.float32)
        return {CLASSES: classes, PROBABILITIES: probabilities, LABELS: probabilities >= thresholds}

    def _decoded(self, data: tf.Tensor) -> tf.Tensor:
        """Returns an image of the size of the model: string [] -> uint8 [size, size, 3]."""
        is_jpeg = tf.io.is_jpeg(data)
        turn = tf.cond(is_jpeg, lambda: exif.orientation(data), lambda: tf.constant(1))
        # An upright JPEG is decoded at a part of its size, as in training. A conversion stores others anew.
        return tf.cond(
            is_jpeg & (turn == 1),
            lambda: self._decoder.decode(data[tf.newaxis], tf.io.extract_jpeg_shape(data)[tf.newaxis, :2])[0],
            lambda: self._decoder.fit(exif.upright(self._whole(data, is_jpeg), turn)),
        )

    def _whole(self, data: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
        """Returns all pixels of an image: uint8 [height, width, 3]."""
        is_png = tf.strings.substr(data, 0, 4) == b"\x89PNG"
        return tf.cond(
            is_png,
            lambda: self._on_background(tf.io.decode_png(data, channels=4)),
            lambda: tf.cond(
                is_jpeg,
                lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
                lambda: tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), [None, None, 3]),
            ),
        )

    def _on_background(self, pixels: tf.Tensor) -> tf.Tensor:
        """Lays an image on the background, as multihot/images/background.py does: uint8 [h, w, 4] -> [h, w, 3]."""
        wide = tf.cast(pixels, tf.int32)
        colour = tf.constant(parse_colour(self._info.background))
        total = wide[..., :3] * wide[..., 3:] + colour * (255 - wide[..., 3:]) + 128
        return tf.cast((total + total // 256) // 256, tf.uint8)


class OfPixels(tf.Module):
    """A model for runtimes that cannot decode: from images of any size, uint8, to probabilities."""

    def __init__(self, network: keras.Model, info: ModelInfo) -> None:
        super().__init__()
        self._info = info
        self.network = network

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns probabilities, float32 [n, k], of images uint8 [n, height, width, 3], all of one size."""
        info = self._info
        fitted = matrices.fit(images, info.image_size, info.resize, exact=info.decode == "exact")
        return scoring.probabilities(self.network, self._info, fitted)
