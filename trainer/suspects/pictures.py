"""Reads images of a dataset by their numbers, and makes small pictures of them.

They are decoded as for a training: every image that was trained on has a picture.
"""

import base64
import io
import math
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from PIL import Image
from PIL.Image import Resampling

from multihot import signals
from schemas import example
from trainer.input import reading
from trainer.sources import Sources
from trainer.suspects.examples import Examples

_QUALITY = 80
# Shorter pictures than this show nothing, whatever the page has room for.
_LEAST_SIDE = 48


def read(sources: Sources, examples: Examples, numbers: Iterable[int], side: int) -> dict[int, Image.Image]:
    """Returns pictures of some images, by their numbers, whose longer side is at most `side` pixels.

    Args:
        sources: the datasets.
        examples: all their images.
        numbers: of the images.
        side: pixels.
    """
    found: dict[int, Image.Image] = {}
    wanted = np.unique(np.fromiter(numbers, np.int64))
    for split, name in enumerate(examples.splits):
        for number, source in enumerate(sources.each):
            of_part = np.flatnonzero((examples.split_of == split) & (examples.source_of == number))
            inside = np.intersect1d(of_part, wanted)
            if not len(inside):
                continue
            spec = example.parse_spec(len(source.info.classes), [example.IMAGE])
            records = reading.records(source, name).enumerate(int(of_part[0]))
            chosen = records.filter(lambda i, _, inside=inside: tf.reduce_any(tf.constant(inside) == i))
            images = chosen.map(lambda i, record, spec=spec: (i, tf.io.parse_single_example(record, spec)))
            for i, features in images.as_numpy_iterator():
                signals.check()
                found[int(i)] = _small(features[example.IMAGE], side)
    return found


def _small(data: bytes, side: int) -> Image.Image:
    picture = Image.fromarray(tf.io.decode_image(data, channels=3, expand_animations=False).numpy())
    picture.thumbnail((side, side), Resampling.LANCZOS)
    return picture


def encoded(pictures: Mapping[int, Image.Image], most_bytes: int) -> dict[int, str]:
    """Returns pictures as data URIs that together have at most so many bytes; they are made smaller where needed."""
    side = max((max(picture.size) for picture in pictures.values()), default=0)
    while True:
        uris = {i: _uri(picture, side) for i, picture in pictures.items()}
        total = sum(map(len, uris.values()))
        if total <= most_bytes or side <= _LEAST_SIDE:
            return uris
        side = max(_LEAST_SIDE, min(side - 8, int(side * math.sqrt(most_bytes / total))))


def _uri(picture: Image.Image, side: int) -> str:
    small = picture.copy()
    small.thumbnail((side, side), Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
