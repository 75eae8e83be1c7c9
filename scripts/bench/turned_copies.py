"""Measures which turned, mirrored and cropped copies of photographs are found by hashes, and which by features.

The photographs are converted with a copy of some of them for each change, and the model of a run embeds them.

    recall      copies that are in one group with their original: by hashes, compared with it alone; by features, among
                all photographs and the copies by one change
    listed      photographs that are in a group, of all photographs without copies. Some are real copies: look at them

Features find more copies among the photographs than hashes. So their recall is measured twice: as they are, and where
the pictures of copies must correlate so much that no more photographs are listed than by hashes.
"""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

import alike
import drawings
import drawn_features
from converter.duplicates import embedded, turned
from converter.job.pipeline import convert
from converter.options import ConvertOptions
from drawings import Change
from schemas import embeddings
from schemas.embeddings import Columns
from trainer import embed
from trainer.embed import EmbedOptions

# Every so manieth photograph has copies. The constants of converter/duplicates/turned.py were chosen on others.
_EACH = 14


def _part(area: float) -> Change:
    """Returns the change that keeps a share of the area, at a random place."""

    def crop(image: Image.Image) -> Image.Image:
        sides = [round(side * area**0.5) for side in image.size]
        rng = np.random.default_rng(np.asarray(image)[::31, ::31, 0].ravel().tolist())
        x, y = (int(rng.integers(0, whole - side + 1)) for whole, side in zip(image.size, sides, strict=True))
        return image.crop((x, y, x + sides[0], y + sides[1]))

    return Change(f"{area:.0%} of the area", crop, 85)


def _way(name: str, way: Image.Transpose) -> Change:
    return Change(name, lambda image: image.transpose(way), 85)


CHANGES = (
    Change("JPEG 30", lambda image: image, 30),
    Change("halved", lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS), 85),
    _way("mirrored", Image.Transpose.FLIP_LEFT_RIGHT),
    _way("turned by 90", Image.Transpose.ROTATE_90),
    _way("by 180", Image.Transpose.ROTATE_180),
    _way("by 270", Image.Transpose.ROTATE_270),
    _way("turned and mirrored", Image.Transpose.TRANSPOSE),
    *map(_part, (0.9, 0.8, 0.7, 0.6)),
    Change("70 % and mirrored", lambda image: _part(0.7).apply(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT), 85),
)


class _Measured:
    """Photographs, and their copies by each change, with their features."""

    def __init__(self, photographs: Sequence[Path], run: str, folder: Path):
        """Makes the copies, converts them, and embeds them."""
        self._folder, images = folder, folder / "images"
        images.mkdir()
        self._originals = photographs[::_EACH]
        for path in photographs:
            (images / path.name).write_bytes(path.read_bytes())
        for path in self._originals:
            with Image.open(path) as image:
                for i, change in enumerate(CHANGES):
                    (images / self._copy(path, i)).write_bytes(drawings.copy(image, change))
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["file", "photograph"], *([one.name, 1] for one in images.iterdir())])
        options = ConvertOptions(csv=f"{folder}/labels.csv", images=str(images), output=str(folder), max_rejects=0)
        convert(options)
        self.features = str(folder / "embeddings.parquet")
        embed.main(EmbedOptions(run=run, data=(options.dataset,), output=self.features))
        self._rows = _joined(self.features)
        self._place = {name: i for i, name in enumerate(self._rows.filenames)}
        self._photographs = [path.name for path in photographs]

    def _copy(self, path: Path, change: int) -> str:
        return f"{path.name} copy {change}.jpg"

    def by_features(self, change: int | None) -> embedded.Found:
        """Finds the groups among all photographs, and the copies by a change."""
        copies = [] if change is None else [self._copy(path, change) for path in self._originals]
        rows = [self._place[name] for name in (*self._photographs, *copies)]
        some = Columns(
            [self._rows.filenames[i] for i in rows],
            [self._rows.splits[i] for i in rows],
            self._rows.features[rows],
            self._rows.thumbnails[rows],
        )
        path = str(self._folder / "some.parquet")
        pq.write_table(embeddings.table(some, embeddings.schema(some.features.shape[1], {})), path)
        return embedded.find(path)

    def recall_by_features(self) -> list[float]:
        """Returns for each change the share of the copies that are in one group with their original."""
        recall = []
        for i in range(len(CHANGES)):
            groups = self.by_features(i).groups
            pairs = [(groups.get(path.name), groups.get(self._copy(path, i))) for path in self._originals]
            recall.append(sum(one is not None and one == other for one, other in pairs) / len(pairs))
        return recall

    def by_hashes(self) -> tuple[int, list[float]]:
        """Returns the number of photographs that hashes list, and for each change the share of copies found."""
        images = self._folder / "images"
        photographs = [alike.compared(name, (images / name).read_bytes()) for name in self._photographs]
        originals = dict(zip(self._photographs, photographs, strict=True))
        found: list[NDArray[np.bool_]] = []
        for path in self._originals:
            copies = [self._copy(path, i) for i in range(len(CHANGES))]
            made = [alike.compared(name, (images / name).read_bytes()) for name in copies]
            found.append(np.array([len(alike.grouped([originals[path.name], one])) == 2 for one in made]))
        return len(alike.grouped(photographs)), np.mean(found, axis=0).tolist()


def report(photographs: Sequence[Path], run: str, numbers: Sequence[int]) -> None:
    """Prints the table, and how the time of the search grows.

    Args:
        photographs: no two of them alike, but for a few.
        run: folder of the run whose model computes the features.
        numbers: of drawn features to compare.
    """
    with tempfile.TemporaryDirectory() as folder:
        measured = _Measured(photographs, run, Path(folder))
        listed, recall = measured.by_hashes()
        lines = [("hashes", listed, recall)]
        usual = turned.MIN_CORRELATION
        for correlation in np.arange(usual, 1, 0.005).tolist():
            turned.MIN_CORRELATION = correlation
            by_features = len(measured.by_features(None).groups)
            if correlation == usual or by_features <= listed:
                lines.append((f"features, correlation {correlation:.3f}", by_features, measured.recall_by_features()))
            if by_features <= listed:
                break
        turned.MIN_CORRELATION = usual
        print(f"| by | listed of {len(photographs)} | {' | '.join(change.name for change in CHANGES)} |")
        print("|---" * (2 + len(CHANGES)) + "|")
        for name, number, shares in lines:
            print(f"| {name} | {number} | {' | '.join(f'{share:.2f}' for share in shares)} |")
        drawn_features.report(numbers, measured.features)


def _joined(path: str) -> Columns:
    parts = list(embeddings.read(path))
    return Columns(
        [name for part in parts for name in part.filenames],
        [split for part in parts for split in part.splits],
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.thumbnails for part in parts]),
    )
