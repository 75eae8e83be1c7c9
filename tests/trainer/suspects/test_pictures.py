"""Images have the names, rows and pictures that belong together, and pictures fit into their room."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.sources import Sources
from trainer.suspects import examples, files, pictures
from trainer.suspects.finding import LABEL, Change, Suspect


def test_each_image_has_its_picture_and_its_row(source: Path, sources: Sources) -> None:
    listed = examples.collect(sources)
    read = pictures.read(sources, listed, range(len(listed.filenames)), 512)
    with (source / "labels.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert len(read) == len(listed.filenames) == len(lines) - 1
    for i, filename in enumerate(listed.filenames):
        path, line = listed.place(i)
        assert path == str(source / "labels.csv")
        assert lines[int(line) - 1][:2] == [filename, listed.splits[listed.split_of[i]]]
        if filename.endswith("0.jpg"):
            with Image.open(source / "images" / filename) as image:
                difference = np.asarray(image.convert("RGB"), float) - np.asarray(read[i], float)
            assert np.abs(difference).mean() < 2


def test_pictures_are_made_smaller_until_they_fit() -> None:
    rng = np.random.default_rng(0)
    noise = {i: Image.fromarray(rng.integers(0, 256, (200, 300, 3), np.uint8)) for i in range(4)}
    whole = sum(map(len, pictures.encoded(noise, 10_000_000).values()))
    small = pictures.encoded(noise, whole // 5)
    assert sum(map(len, small.values())) <= whole // 5
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in small.values())
    assert len(pictures.encoded(noise, 0)) == 4
    assert pictures.encoded({}, 0) == {}


def test_no_cell_is_a_formula(sources: Sources) -> None:
    listed = examples.collect(sources)._replace(classes=("=1+1", "b", "c", "d"))
    text = files.suspects_csv([Suspect(0, (Change(0, 0, 1),), 0.98765, LABEL)], listed)
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["class"] == "'=1+1"
    assert (row["given"], row["suggested"], row["confidence"], row["kind"]) == ("0", "1", "0.9877", "label")
    assert row["filename"] == listed.filenames[0]
