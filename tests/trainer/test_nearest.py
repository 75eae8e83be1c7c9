"""The nearest images are those of the highest cosine."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from trainer import nearest
from trainer.nearest import Nearest


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_the_nearest_images_are_those_of_the_highest_cosine(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    # The square of the length of a float16 may be infinite.
    features = (300 * np.random.default_rng(0).random((100, 20))).astype(kind)
    monkeypatch.setattr(nearest, "_BLOCK", 30)
    cosines = cosine_similarity(features.astype(np.float64))
    np.fill_diagonal(cosines, -2)
    own = np.array([7, 99, 0])
    search = Nearest(features[own], own, 5)
    for part in (features[:70], features[70:]):
        search.add(part)
    numbers, found = search.found()
    np.testing.assert_allclose(found, -np.sort(-cosines[own], axis=1)[:, :5], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(cosines[own], numbers, 1), found, rtol=1e-5)


@pytest.mark.parametrize(("num", "own", "expected"), [(3, 1, {0, 2}), (1, 0, set()), (2, 1, {0})])
def test_of_few_images_all_others_are_found(num: int, own: int, expected: set[int]) -> None:
    features = np.random.default_rng(0).random((num, 4), np.float32)
    search = Nearest(features[[own]], np.array([own]), 50)
    search.add(features)
    numbers, cosines = search.found()
    assert (set(numbers[0].tolist()), numbers.shape) == (expected, (1, len(expected)))
    assert np.isfinite(cosines).all()
