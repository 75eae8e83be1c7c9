"""The neighbours of an image are those of the highest cosine."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from trainer.suspects import neighbours


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_the_nearest_images_are_those_of_the_highest_cosine(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    # The square of the length of a float16 may be infinite.
    features = (300 * np.random.default_rng(0).random((100, 20))).astype(kind)
    monkeypatch.setattr(neighbours, "_BLOCK", 30)
    cosines = cosine_similarity(features.astype(np.float64))
    np.fill_diagonal(cosines, -2)
    of = np.array([7, 99, 0])
    found = neighbours.nearest(features, of, 5)
    np.testing.assert_allclose(
        np.take_along_axis(cosines[of], found, 1), -np.sort(-cosines[of], axis=1)[:, :5], rtol=1e-5
    )
    assert neighbours.nearest(features[:3], np.array([1]), 50).tolist() in ([[0, 2]], [[2, 0]])
    assert neighbours.nearest(features[:1], np.array([0]), 50).shape == (1, 0)
