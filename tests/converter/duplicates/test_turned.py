"""Pictures of copies correlate, however they are turned, mirrored or cropped; pictures of others do not."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from converter.duplicates import turned
from schemas import embeddings

_SIDE = 240
_WAYS = (None, *Image.Transpose)


def _photograph(seed: int) -> Image.Image:
    """Returns a picture with structure of all sizes, as photographs have it."""
    rng = np.random.default_rng(seed)
    octaves = (2**i * ndimage.gaussian_filter(rng.standard_normal((_SIDE, _SIDE)), 2**i) for i in range(1, 6))
    whole = sum(octaves)
    return Image.fromarray(np.uint8(255 * (whole - whole.min()) / np.ptp(whole)))


def _small(*images: Image.Image) -> NDArray[np.uint8]:
    side = embeddings.SIDE
    return np.stack([np.asarray(one.resize((side, side), Image.Resampling.BOX)) for one in images])


def _cropped(image: Image.Image, area: float, seed: int) -> Image.Image:
    side = round(_SIDE * area**0.5)
    x, y = np.random.default_rng(seed).integers(0, _SIDE - side + 1, 2).tolist()
    return image.crop((x, y, x + side, y + side))


@pytest.mark.parametrize("area", [1.0, 0.9, 0.75, 0.6])
def test_copies_in_all_positions_are_found_in_either_order(area: float) -> None:
    originals = [_photograph(seed) for seed in range(8)]
    copies = [_cropped(one, area, seed) for seed, one in enumerate(originals)]
    copies = [one.transpose(way) if way is not None else one for one, way in zip(copies, _WAYS, strict=True)]
    a, b = _small(*originals), _small(*copies)
    found = turned.are_copies(a, b)
    assert found.sum() >= (8 if area == 1 else 6)
    np.testing.assert_array_equal(turned.are_copies(b, a), found)


def test_different_pictures_are_no_copies() -> None:
    pictures = _small(*map(_photograph, range(15)))
    some, others = np.array(list(itertools.combinations(range(15), 2))).T
    assert not turned.are_copies(pictures[some], pictures[others]).any()


def test_plain_pictures_are_no_copies() -> None:
    # They have the structure of their noise.
    rng = np.random.default_rng(0)
    plain = np.uint8(128 + rng.integers(0, 2, (4, embeddings.SIDE, embeddings.SIDE)))
    assert not turned.are_copies(plain[:2], plain[2:]).any()
    black = np.zeros_like(plain)
    assert not turned.are_copies(black[:2], black[2:]).any()
    assert turned.are_copies(plain[:0], plain[:0]).shape == (0,)


def test_light_and_contrast_do_not_matter() -> None:
    picture = _small(_photograph(0))
    assert turned.are_copies(picture, np.uint8(40 + picture * 0.6)).all()


def test_the_correlation_of_a_picture_with_itself_is_1() -> None:
    pictures = _small(*map(_photograph, range(3))).astype(np.float32)
    np.testing.assert_allclose(turned.correlations(pictures, pictures), 1, atol=0.01)
