"""Copies are found by features and pictures, the same ones for any order of rows, and without comparing all pairs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from converter.duplicates import embedded
from multihot.errors import UserError
from schemas import embeddings
from schemas.embeddings import Columns

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Returns the function that writes a file of features, and returns its path."""

    def make(names: Sequence[str], features: NDArray[np.float32], thumbnails: NDArray[np.uint8]) -> str:
        columns = Columns(list(names), ["train"] * len(names), features, thumbnails)
        pq.write_table(embeddings.table(columns, embeddings.schema(features.shape[1], {})), tmp_path / "e.parquet")
        return str(tmp_path / "e.parquet")

    return make


def _images(number: int, width: int = 600) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Returns features and thumbnails of different images."""
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.standard_normal((number, embeddings.SIDE, embeddings.SIDE)), (0, 1, 1))
    return rng.random((number, width)).astype(np.float32) ** 4, np.uint8(128 + 100 * noise.clip(-1.2, 1.2))


def _like(features: NDArray[np.float32], cosine: float) -> NDArray[np.float32]:
    """Returns features that have a cosine with these."""
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    noise = np.random.default_rng(2).standard_normal(features.shape)
    noise -= (noise * units).sum(1, keepdims=True) * units
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return (3 * (cosine * units + (1 - cosine**2) ** 0.5 * noise)).astype(np.float32)


def _made(write: Write, order: Sequence[int]) -> str:
    """Writes 40 images, 8 copies of the first ones that are turned, and 8 images with features like those of others."""
    features, thumbnails = _images(48)
    whole = np.concatenate([features[:40], _like(features[:8], 0.95), _like(features[8:16], 0.95)])
    pictures = np.concatenate([thumbnails[:40], np.rot90(thumbnails[:8], 1, (1, 2)), thumbnails[40:]])
    names = [f"{i:02}.jpg" for i in range(40)] + [f"c{i:02}.jpg" for i in range(8)] + [f"d{i:02}.jpg" for i in range(8)]
    return write([names[i] for i in order], whole[order], pictures[order])


@pytest.mark.parametrize("seed", range(3))
def test_copies_need_like_features_and_like_pictures(write: Write, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(56)
    found = embedded.find(_made(write, order.tolist()))
    expected = {f"{i:02}.jpg": f"{i:02}.jpg" for i in range(8)} | {f"c{i:02}.jpg": f"{i:02}.jpg" for i in range(8)}
    assert found.groups == expected
    assert found.num_known(["00.jpg", "c07.jpg", "x.jpg", "00.jpg "]) == 2


def test_like_pictures_with_other_features_are_no_copies(write: Write) -> None:
    features, thumbnails = _images(20)
    same = np.concatenate([thumbnails[:10], thumbnails[:10]])
    assert embedded.find(write([f"{i}.jpg" for i in range(20)], features, same)).groups == {}


def test_rows_with_the_same_contents_are_one_group_however_many(write: Write) -> None:
    features, thumbnails = _images(2)
    rows = np.repeat([0, 1], [30, 1])
    found = embedded.find(write([f"{i:02}.jpg" for i in range(31)], features[rows], thumbnails[rows]))
    assert found.groups == {f"{i:02}.jpg": "00.jpg" for i in range(30)}


def test_images_without_any_feature_are_like_no_other(write: Write) -> None:
    features, thumbnails = _images(6)
    assert embedded.find(write([f"{i}.jpg" for i in range(6)], features * 0, thumbnails)).groups == {}


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_with_no_pair_has_no_groups(write: Write, number: int) -> None:
    features, thumbnails = _images(number)
    found = embedded.find(write([f"{i}.jpg" for i in range(number)], features, thumbnails))
    assert found.groups == {}
    assert found.num_known(["0.jpg", "1.jpg"]) == number


def test_two_rows_of_one_image_are_refused(write: Write) -> None:
    features, thumbnails = _images(3)
    with pytest.raises(UserError, match="rows 1 and 3 are both of a\\.jpg"):
        embedded.find(write(["a.jpg", "b.jpg", "a.jpg"], features, thumbnails))


def test_vectors_are_whole_numbers_whose_products_are_exact() -> None:
    features, _ = _images(300, width=1280)
    for some in (features, features[:, :100], features * 1e30, features * 1e-30, -features):
        vectors = embedded.whole(some)
        assert vectors.shape == (300, min(some.shape[1], 256))
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        np.testing.assert_allclose(lengths, 2048, rtol=0.01)
        exact = vectors.astype(np.int64) @ vectors.astype(np.int64).T
        np.testing.assert_array_equal(vectors.astype(np.float32) @ vectors.astype(np.float32).T, exact)


def test_in_cells_nearly_all_pairs_are_found_that_are_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = _images(3000, width=64)
    features[1500:] = _like(features[:1500], 0.93)
    vectors = embedded.whole(features)
    whole = set(zip(*(ends.tolist() for ends in embedded.candidates(vectors)), strict=True))
    assert {(i, i + 1500) for i in range(1500)} <= whole
    sizes = []
    cells = embedded._cells

    def counted(vectors: NDArray[np.int16]) -> list[NDArray[np.intp]]:
        found = list(cells(vectors))
        sizes.extend(map(len, found))
        return found

    monkeypatch.setattr(embedded, "_MOST_IN_ONE", 1000)
    monkeypatch.setattr(embedded, "_cells", counted)
    parts = set(zip(*(ends.tolist() for ends in embedded.candidates(vectors)), strict=True))
    assert parts <= whole
    assert len(parts) > 0.95 * len(whole)
    # Comparing all with all takes 4.5 million products.
    assert sum(size**2 for size in sizes) < 3_000_000
