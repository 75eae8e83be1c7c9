"""Measures which near duplicates are found and which are none, by kind of picture.

Of each kind there are pictures of which no two are copies, and of each of them a copy for each change that
drawings.CHANGES lists. They go through the steps of a conversion, without Beam.

    recall      copies that are in one group with their original, compared with it alone; of each change
    precision   pairs in one group that are copies of one picture, of all pairs in one group, in a set of all pictures
                and one copy of each
    listed      pictures that are in a group, of a set of all pictures without copies: none should be
"""

import argparse
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import drawings
import drawn_hashes
from converter.duplicates import lookalikes, neighbours
from converter.duplicates.components import Groups, Links
from converter.duplicates.fingerprints import Fingerprint, digest, fingerprints, views
from converter.duplicates.lookalikes import Picture
from multihot.images.prove import Preparation, prepare

PHOTOGRAPHS = "photographs"
# Index of the first drawing. The constants of converter/duplicates/likeness.py were chosen on drawings of smaller
# indices, and on other photographs.
_FIRST = 20_000
_AS_IT_IS = Preparation(max_pixels=100_000_000)


class Figures(NamedTuple):
    """Measurements of a kind of picture.

    Attributes:
        number: of pictures.
        listed: pictures that were listed, though no two are copies.
        precision: share of right pairs in groups.
        recall: of each change, share of the copies that are found.
    """

    number: int
    listed: int
    precision: float
    recall: tuple[float, ...]


class Compared(NamedTuple):
    """The features of an image that a conversion compares: the picture of drawings, if they are candidates."""

    fingerprint: Fingerprint
    picture: Picture | None


def compared(name: str, data: bytes) -> Compared:
    """Returns the features of a file, as a conversion makes them."""
    image = prepare(data, _AS_IT_IS)
    (one,) = fingerprints([name], [digest(data)], [views(image.grey)])
    return Compared(one, lookalikes.picture(image))


Grouped = Callable[[Sequence[Compared]], dict[str, str]]


def candidates(ones: Sequence[Compared]) -> dict[str, str]:
    """Returns for each image that has a candidate the first name of its group: what hashes alone would list."""
    keys = [(band, columns) for (band, _), columns in neighbours.bands([one.fingerprint for one in ones], 1)]
    return _connected(neighbours.begin_links(band, [columns])() for band, columns in keys)


def grouped(ones: Sequence[Compared]) -> dict[str, str]:
    """Returns for each image that has a duplicate the first name of its group: the steps of job/duplicates.py."""
    some = [one.fingerprint for one in ones]
    plain = lookalikes.are_plain(some)
    pictures = [one.picture if is_plain else None for one, is_plain in zip(ones, plain, strict=True)]
    parts = lookalikes.parts(some, pictures, candidates(ones), 1)
    return _connected(lookalikes.begin_links([columns])() for _, columns in parts)


def _connected(found: Iterable[Links]) -> dict[str, str]:
    groups = Groups()
    for links in found:
        groups.add(links)
    return groups.result()


def measure(kind: str, number: int, photographs: Sequence[Path] = ()) -> tuple[Figures, Figures]:
    """Measures a kind: what a conversion finds, and what hashes alone would find.

    Args:
        kind: of drawings.KINDS, or PHOTOGRAPHS.
        number: of pictures, at most.
        photographs: no two of them alike.
    """
    pictures = _photographs(photographs[:number]) if kind == PHOTOGRAPHS else _drawings(kind, number)
    made = [
        [compared(f"{index:05} {i}", data) for i, data in enumerate((file, *_copies(picture)))]
        for index, (picture, file) in enumerate(pictures)
    ]
    return _figures(made, grouped), _figures(made, candidates)


def _drawings(kind: str, number: int) -> Iterator[tuple[Image.Image, bytes]]:
    """Yields drawings and their files, each once: one shape can hide all others."""
    seen = set()
    for index in range(_FIRST, _FIRST + number):
        drawing = drawings.KINDS[kind](index)
        if drawing.tobytes() not in seen:
            seen.add(drawing.tobytes())
            is_png = index % 2 == 0 or drawing.mode == "RGBA"
            yield drawing, drawings.encoded(drawing, "PNG" if is_png else "JPEG")


def _photographs(paths: Iterable[Path]) -> Iterator[tuple[Image.Image, bytes]]:
    for path in paths:
        with Image.open(path) as image:
            yield image.convert("RGB"), path.read_bytes()


def _copies(picture: Image.Image) -> Iterator[bytes]:
    return (drawings.copy(picture, change) for change in drawings.CHANGES)


def _figures(made: Sequence[Sequence[Compared]], group: Grouped) -> Figures:
    originals = [one for one, *_ in made]
    each = range(len(drawings.CHANGES))
    found = [[len(group([one, copies[i]])) == 2 for one, *copies in made] for i in each]
    mixed = originals + [copies[i % len(copies)] for i, (_, *copies) in enumerate(made)]
    groups: dict[str, list[str]] = {}
    for name, first in group(mixed).items():
        groups.setdefault(first, []).append(name.split()[0])
    pairs = [a == b for names in groups.values() for a, b in itertools.combinations(names, 2)]
    return Figures(
        number=len(made),
        listed=len(group(originals)),
        precision=sum(pairs) / len(pairs) if pairs else 1.0,
        recall=tuple(sum(some) / len(some) for some in found),
    )


def table(measured: Iterable[tuple[str, tuple[Figures, Figures]]]) -> Iterator[str]:
    """Yields the lines of a table in Markdown."""
    changes = " | ".join(change.name for change in drawings.CHANGES)
    heads = "listed | precision | recall"
    yield f"| kind | pictures | {heads} | by hashes alone: {heads} | recall of: {changes} |"
    yield "|---" * (8 + len(drawings.CHANGES)) + "|"
    for kind, (one, by_hashes) in measured:
        figures = " | ".join(
            f"{each.listed} | {each.precision:.3f} | {sum(each.recall) / len(each.recall):.3f}"
            for each in (one, by_hashes)
        )
        of_changes = " | ".join(f"{share:.2f}" for share in one.recall)
        yield f"| {kind} | {one.number} | {figures} | {of_changes} |"


def crowd(number: int) -> tuple[float, int]:
    """Returns the seconds that it takes to compare so many different figures on one ground, and how many are listed."""
    ones = [compared(f"{i:05}", drawings.encoded(drawings.dot(i), "PNG")) for i in range(number)]
    start = time.perf_counter()
    found = grouped(ones)
    return time.perf_counter() - start, len(found)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=80, help="pictures of each kind; default: 80")
    parser.add_argument("--images", type=Path, help="folder of photographs; default: that in MIML_DATASET, else none")
    parser.add_argument("--crowd", type=int, default=0, help="also time so many figures on one ground; default: none")
    parser.add_argument(
        "--hashes", type=int, nargs="+", help="only time the search for candidates among so many drawn hashes"
    )
    parser.add_argument("--run", help="only measure turned and cropped copies, by hashes and by the model of this run")
    parser.add_argument(
        "--features", type=int, nargs="+", default=[], help="with --run: also time the search among drawn features"
    )
    args = parser.parse_args()
    folder = args.images or (Path(os.environ["MIML_DATASET"]) / "images" if "MIML_DATASET" in os.environ else None)
    photographs = sorted(folder.iterdir())[1::5] if folder else []
    if args.hashes:
        drawn_hashes.report(args.hashes, photographs)
        return
    if args.run:
        import turned_copies  # TensorFlow takes seconds.

        turned_copies.report(sorted(folder.iterdir()) if folder else [], args.run, args.features)
        return
    kinds = [PHOTOGRAPHS] * bool(photographs) + list(drawings.KINDS)
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        found = pool.starmap(measure, [(kind, args.number, photographs) for kind in kinds], chunksize=1)
    for line in table(zip(kinds, found, strict=True)):
        print(line)
    if args.crowd:
        seconds, listed = crowd(args.crowd)
        print(f"\n{args.crowd} different figures on one ground: {seconds:.1f} s, {listed} listed")


if __name__ == "__main__":
    main()
