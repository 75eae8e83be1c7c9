"""The images in tars, for readers that read no TFRecords; and OpenCV on one of them."""

import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from serve import ASPECTS, MIN_AREA


def paths(folder: str) -> list[str]:
    """Returns the tars."""
    return sorted(map(str, Path(folder, "tars").iterdir()))


def examples(folder: str) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yields all images, encoded, with their labels, uint8 [k]."""
    for path in paths(folder):
        with tarfile.open(path) as tar:
            files = (tar.extractfile(member) for member in tar)
            contents = [file.read() for file in files if file]
        for image, labels in zip(contents[::2], contents[1::2], strict=True):
            yield image, np.array(json.loads(labels), np.uint8)


def random_box(height: int, width: int) -> tuple[int, int, int, int]:
    """Returns the top, left, height and width of a random part of an image."""
    area, aspect = random.uniform(MIN_AREA, 1) * height * width, random.uniform(*ASPECTS)
    box_height, box_width = min(round((area / aspect) ** 0.5), height), min(round((area * aspect) ** 0.5), width)
    return random.randint(0, height - box_height), random.randint(0, width - box_width), box_height, box_width


def resized(image: np.ndarray, size: int, out: Any = None) -> np.ndarray:
    """Returns an image of this size."""
    # Bilinear sampling leaves pixels out only where less than half remains; averaging takes almost three times as long.
    much_smaller = max(image.shape[:2]) >= 2 * size
    method = cv2.INTER_AREA if much_smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), dst=out, interpolation=method)


def decoded(data: bytes, size: int, crop: bool) -> np.ndarray:
    """Returns an image uint8 [size, size, 3], decoded in full by OpenCV; a random part of it, mirrored or not."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if not crop:
        return resized(image, size)
    top, left, height, width = random_box(*image.shape[:2])
    image = resized(image[top : top + height, left : left + width], size)
    return cv2.flip(image, 1) if random.random() < 0.5 else image
