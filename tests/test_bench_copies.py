"""The copies and the features that scripts/bench_duplicates --run measures with are what it calls them."""

import numpy as np
import pytest
from PIL import Image

import drawn_features
import turned_copies


def _image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))


def test_changes_turn_mirror_and_crop() -> None:
    image = _image()
    pixels = np.asarray(image)
    made = {change.name: np.asarray(change.apply(image)) for change in turned_copies.CHANGES}
    np.testing.assert_array_equal(made["mirrored"], pixels[:, ::-1])
    np.testing.assert_array_equal(made["by 180"], pixels[::-1, ::-1])
    assert made["turned by 90"].shape == made["by 270"].shape == (90, 60, 3)
    for name, share in (("90% of the area", 0.9), ("60% of the area", 0.6), ("70 % and mirrored", 0.7)):
        assert made[name].size / pixels.size == pytest.approx(share, abs=0.02)
    # A part of the image, and always the same one.
    part = made["80% of the area"]
    places = [
        (y, x)
        for y in range(pixels.shape[0] - part.shape[0] + 1)
        for x in range(pixels.shape[1] - part.shape[1] + 1)
        if (pixels[y : y + part.shape[0], x : x + part.shape[1]] == part).all()
    ]
    assert len(places) == 1
    change = next(each for each in turned_copies.CHANGES if each.name == "80% of the area")
    np.testing.assert_array_equal(change.apply(image), part)


def test_drawn_copies_have_the_cosines_that_are_said() -> None:
    real = np.random.default_rng(1).random((50, 64)).astype(np.float32)
    vectors, originals, copies, cosines = drawn_features._drawn(real, 2000)
    a, b = (vectors[ends].astype(np.float64) for ends in (originals, copies))
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosines, expected, atol=1e-4)
    assert len(set(originals.tolist())) == len(copies) == 20
    assert 0.85 < cosines.min() < cosines.max() < 1
