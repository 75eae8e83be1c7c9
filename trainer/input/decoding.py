"""Serialized examples, or encoded images, -> images of one size, many at a time; and label vectors of the examples.

    string [n] -> parse all at once -> of each image, decode what is needed -> resize -> uint8 [n, size, size, 3]

Nearly all of the time is spent in libjpeg, so it decodes as few pixels as possible: at 1/2, 1/4 or 1/8 where that is
still as large as the result (DCT scaling), and only the part that a random crop keeps. All other work is done once for
many images: `scripts/bench_input` compares this with libjpeg-turbo alone.
"""

import dataclasses
import functools

import tensorflow as tf

from schemas import example
from trainer.input import cropping, resizing
from trainer.input.cropping import Crops

# libjpeg can divide height and width by these numbers at little cost.
_RATIOS = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDecoder:
    """Decodes images to squares of one size.

    Attributes:
        all_jpeg: whether there is no image of another format: the graph is simpler then.
        size: height and width of the result, pixels.
        exact: whether all pixels are decoded and averaged by an antialiasing filter.
        resize: way from an image to a square, see TrainConfig.
    """

    all_jpeg: bool = False
    size: int
    exact: bool
    resize: str = "stretch"

    def decode(self, data: tf.Tensor, shapes: tf.Tensor, crops: Crops | None = None) -> tf.Tensor:
        """Decodes images.

        Args:
            data: encoded images, string [n].
            shapes: their heights and widths, int32 [n, 2].
            crops: of each the part to decode, and whether to mirror it; by default the whole image.

        Returns:
            uint8 [n, size, size, 3].
        """
        cut = bool(crops) or self.resize == "crop"
        plans = self._plans(shapes, None if self.all_jpeg else tf.io.is_jpeg(data), crops)
        # A loop in the graph: `Dataset.map` with a call for each image took a tenth longer.
        return tf.map_fn(
            lambda image: self._image(*image, cut=cut),
            (data, plans),
            fn_output_signature=tf.TensorSpec([self.size, self.size, 3], tf.uint8),
            parallel_iterations=1,
        )

    def fit(self, pixels: tf.Tensor) -> tf.Tensor:
        """Resizes an image that is decoded already, as an image of another format than JPEG is resized.

        Args:
            pixels: uint8 [height, width, 3].

        Returns:
            uint8 [size, size, 3].
        """
        plan = self._plans(tf.shape(pixels)[tf.newaxis, :2], tf.constant([False]), None)[0]
        return self._fitted(_cut(pixels, plan[3:7]) if self.resize == "crop" else pixels, plan)

    def _plans(self, shapes: tf.Tensor, is_jpeg: tf.Tensor | None, crops: Crops | None) -> tf.Tensor:
        """Returns the plan of each image, int32 [n, 2 to 9]: one tensor, since each tensor of a loop costs time.

        A plan is the index of the ratio to decode at (one past the last: the image is no JPEG), and whether to average
        pixels; where only a part is decoded also whether to mirror, and the window in pixels of the whole image; and
        with `resize="pad"` the height and width between the bars.

        Args:
            shapes: heights and widths, int32 [n, 2].
            is_jpeg: bool [n]; None if all are.
            crops: see `decode`.
        """
        windows = self._windows(shapes, crops)
        sides = tf.cast(windows[:, 2:], tf.float32)
        inner = tf.constant([[self.size, self.size]])
        if self.resize == "pad":
            scaled = sides * (self.size / tf.reduce_max(sides, axis=1, keepdims=True))
            inner = tf.maximum(tf.cast(tf.round(scaled), tf.int32), 1)
        times = sides / tf.cast(inner, tf.float32)  # as large as the result
        smallest, largest = tf.reduce_min(times, axis=1), tf.reduce_max(times, axis=1)
        fits = (tf.cast(smallest >= ratio, tf.int32) for ratio in self._ratios[1:])
        decoder = sum(fits, start=tf.zeros_like(shapes[:, 0]))
        if is_jpeg is not None:
            decoder = tf.where(is_jpeg, decoder, len(self._ratios))
        remaining = largest / tf.gather([*map(float, self._ratios), 1.0], decoder)
        plans = [decoder, tf.cast(remaining > resizing.INTERPOLATED, tf.int32)]
        if crops or self.resize == "crop":
            mirrored = tf.cast(crops.mirrored, tf.int32) if crops else tf.zeros_like(decoder)
            plans += [mirrored, *tf.unstack(windows, axis=1)]
        if self.resize == "pad":
            plans += tf.unstack(inner, axis=1)
        return tf.stack(plans, axis=1)

    def _windows(self, shapes: tf.Tensor, crops: Crops | None) -> tf.Tensor:
        """Returns the part of each image to decode, int32 [n, 4]: top, left, height and width."""
        squares = shapes
        if self.resize == "crop":
            squares = tf.repeat(tf.reduce_min(shapes, axis=1, keepdims=True), 2, axis=1)
        windows = crops.windows(squares) if crops else tf.pad(squares, [[0, 0], [2, 0]])
        return windows if squares is shapes else windows + tf.pad((shapes - squares) // 2, [[0, 0], [0, 2]])

    def _image(self, data: tf.Tensor, plan: tf.Tensor, *, cut: bool) -> tf.Tensor:
        """Decodes one image: uint8 [size, size, 3]."""
        decoder = plan[0]
        window = plan[3:7] if cut else None
        decoders = [functools.partial(_jpeg, data, window, ratio) for ratio in self._ratios]
        if not self.all_jpeg:
            decoders.append(functools.partial(_any_format, data, window))
        image = tf.switch_case(decoder, decoders)
        return self._fitted(cropping.mirror(image, plan[2] > 0) if cut else image, plan)

    def _fitted(self, image: tf.Tensor, plan: tf.Tensor) -> tf.Tensor:
        """Resizes what is decoded of an image: uint8 [height, width, 3] -> uint8 [size, size, 3]."""
        averaged = plan[1]
        size = plan[-2:] if self.resize == "pad" else self.size
        if self.exact:
            image = resizing.antialiased(image, size)
        else:
            image = tf.cond(
                averaged > 0,
                lambda: resizing.averaged(image, size),
                lambda: resizing.interpolated(image, size),
            )
        return resizing.padded(image, self.size) if self.resize == "pad" else image

    @property
    def _ratios(self) -> tuple[int, ...]:
        return (1,) if self.exact else _RATIOS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder(ImageDecoder):
    """Decodes the records of a dataset to images and labels.

    Attributes:
        num_classes: of the dataset.
        labels: indices of the classes of the run.
        has_unknown: whether labels may be unknown: those are example.UNKNOWN.
    """

    num_classes: int
    labels: tuple[int, ...]
    has_unknown: bool = False

    def __call__(self, records: tf.Tensor, crops: Crops | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes examples.

        Args:
            records: serialized examples, string [n].
            crops: of each the part to decode, and whether to mirror it; by default the whole image.

        Returns:
            images uint8 [n, size, size, 3] and labels float32 [n, number of labels].
        """
        names = (example.IMAGE, example.HEIGHT, example.WIDTH, example.LABELS, example.KNOWN)
        features = tf.io.parse_example(records, example.parse_spec(self.num_classes, names, self.has_unknown))
        labels = features[example.LABELS]
        if self.has_unknown:  # On disk they are 0.
            labels += example.UNKNOWN * (1 - features[example.KNOWN])
        if self.labels != tuple(range(self.num_classes)):
            labels = tf.gather(labels, self.labels, axis=1)
        shapes = tf.cast(tf.stack([features[example.HEIGHT], features[example.WIDTH]], axis=1), tf.int32)
        return self.decode(features[example.IMAGE], shapes, crops), tf.cast(labels, tf.float32)


def _jpeg(data: tf.Tensor, window: tf.Tensor | None, ratio: int) -> tf.Tensor:
    # The pixels of TensorFlow's default, INTEGER_FAST, are almost a level darker than those of other decoders.
    if window is None:
        return tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
    # The window in the reduced image. libjpeg rounds the size of that up, and so does this, never beyond its edges.
    window = tf.add(window, [0, 0, ratio - 1, ratio - 1]) // ratio
    return tf.io.decode_and_crop_jpeg(data, window, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _any_format(data: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
    image = tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), [None, None, 3])
    return image if window is None else _cut(image, window)


def _cut(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]
