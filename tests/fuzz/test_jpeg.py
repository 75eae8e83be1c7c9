"""JPEGs that libjpeg-turbo proves by a small picture also decode in TensorFlow and Pillow, to the same pixels."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from multihot.images import headers, jpeg

Damage = Callable[[bytes, bytes, random.Random], bytes]
Draw = Callable[..., bytes]

_MAX_PIXELS = 1_000_000
_KINDS: list[dict[str, Any]] = [
    *[{"subsampling": subsampling} for subsampling in ("4:4:4", "4:2:2", "4:2:0")],
    {"mode": "L"},
    {"keep_rgb": True},
    {"restart_marker_blocks": 2},
    {"quality": 100, "optimize": True},
    {"comment": b"a comment"},
    {"dpi": (72, 72)},
    {"progressive": True},
    {"mode": "CMYK"},
]


def _with_tensorflow(data: bytes) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return pixels


@pytest.fixture(scope="module")
def good(draw: Draw) -> list[bytes]:
    sizes = ((1, 1), (17, 9), (40, 31), (64, 3))
    return [draw(i, width=w, height=h, **kind) for i, kind in enumerate(_KINDS) for w, h in sizes]


@pytest.mark.slow
def test_damaged_jpegs(good: list[bytes], damaged_image: Damage, rounds: Any) -> None:
    for rng in rounds.least(40):
        for _ in range(200):
            data = damaged_image(rng.choice(good), rng.choice(good), rng)
            # Pictures of an eighth to all of the size: what is not made into pixels is read all the same.
            proved = {jpeg.prove(data, _MAX_PIXELS, side) is not None for side in (1, 8, 16, 1000)}
            assert len(proved) == 1
            one = jpeg.prove(data, _MAX_PIXELS)
            rounds.counts["taken" if one else "left to TensorFlow"] += 1
            if one:
                pixels = _with_tensorflow(data)
                assert (one.height, one.width) == pixels.shape[:2]
                np.testing.assert_array_equal(jpeg.decode(data), pixels)
            if one and one.shown_as_decoded:
                image_format, header = headers.read_header(data, _MAX_PIXELS)
                assert (image_format, header.size) == ("jpeg", (one.width, one.height))
                assert headers.orientation(image_format, header, data) is None
                rounds.counts["taken, shown as decoded"] += 1
    counts = rounds.counts
    assert min(counts[result] for result in ("taken", "left to TensorFlow")) > counts.total() / 30
