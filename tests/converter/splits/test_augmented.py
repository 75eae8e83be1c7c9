"""Augmented versions of one image are recognized by their names."""

import pytest

from converter.splits import augmented


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("00000_jpg.rf.c7763203e20a64b270352752d6a1e7c6.jpg", "00000_jpg"),
        ("train/IMG_0_jpg.rf.6e9487c1c77ad8c8.jpg", "train/IMG_0_jpg"),
        ("a.rf.b_jpg.rf.6e9487c1c77ad8c8.png", "a.rf.b_jpg"),
        ("surf.jpg", None),
        ("a.rf.jpg", None),
        ("a.rf.1234.jpg", None),
    ],
)
def test_names_of_versions(name: str, original: str | None) -> None:
    assert augmented.original(name) == original


def test_images_with_versions_in_several_splits_are_counted() -> None:
    versions = [("a", "train"), ("a", "dev"), ("b", "dev"), ("b", "dev"), ("c", "train"), ("d", "dev"), ("d", "test")]
    assert augmented.num_split(versions) == 2
    assert augmented.num_split([]) == 0
