"""Measures which near duplicates are found and which are none, by kind of picture.

Of each kind there are pictures of which no two are copies, and of each of them a copy for each change that
drawings.CHANGES lists. They go through what a conversion does with an image, without Beam.

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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import drawings
from converter import lookalikes, neighbours
from converter.duplicates import Groups
from converter.fingerprints import Fingerprint, digest, fingerprints, views
from converter.images import Preparation, prepare

PHOTOGRAPHS = "photographs"
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


def fingerprint(name: str, data: bytes) -> Fingerprint:
    """Returns the fingerprint of a file, as a conversion makes it."""
    (one,) = fingerprints([name], [digest(data)], [views(prepare(data, _AS_IT_IS).small)])
    return one


def grouped(ones: Sequence[Fingerprint]) -> dict[str, str]:
    """Returns for each image that has a duplicate the first name of its group: the steps of converter/graph.py."""
    keys = [(band, some) for (band, _), some in neighbours.bands(ones, 1)]
    candidates = _connected(neighbours.begin_links(band, [some])() for band, some in keys)
    return _connected(lookalikes.begin_links([some])() for _, some in lookalikes.parts(ones, candidates, 1))


def _connected(found: Iterable[neighbours.Links]) -> dict[str, str]:
    groups = Groups()
    for pair in itertools.chain.from_iterable(links.pairs() for links in found):
        groups.add(*pair)
    return groups.result()


def measure(kind: str, number: int, photographs: Sequence[Path] = ()) -> Figures:
    """Measures a kind.

    Args:
        kind: of drawings.KINDS, or PHOTOGRAPHS.
        number: of pictures, at most.
        photographs: no two of them alike.
    """
    made = list(_distinct(_with_copies(kind, index, photographs) for index in _indices(kind, number, photographs)))
    originals = [one for one, *_ in made]
    each = range(len(drawings.CHANGES))
    found = [[len(grouped([one, copies[i]])) == 2 for one, *copies in made] for i in each]
    mixed = originals + [copies[i % len(copies)] for i, (_, *copies) in enumerate(made)]
    groups: dict[str, list[str]] = {}
    for name, first in grouped(mixed).items():
        groups.setdefault(first, []).append(name.split()[0])
    pairs = [a == b for names in groups.values() for a, b in itertools.combinations(names, 2)]
    return Figures(
        number=len(made),
        listed=len(grouped(originals)),
        precision=sum(pairs) / len(pairs) if pairs else 1.0,
        recall=tuple(sum(some) / len(some) for some in found),
    )


def _indices(kind: str, number: int, photographs: Sequence[Path]) -> range:
    return range(min(number, len(photographs) if kind == PHOTOGRAPHS else number))


def _distinct(made: Iterable[list[Fingerprint]]) -> Iterator[list[Fingerprint]]:
    """Leaves out pictures that were drawn twice, which happens where one shape hides all others."""
    seen: set[bytes] = set()
    for one in made:
        if one[0].colours not in seen:
            seen.add(one[0].colours)
            yield one


def _with_copies(kind: str, index: int, photographs: Sequence[Path]) -> list[Fingerprint]:
    if kind == PHOTOGRAPHS:
        data = photographs[index].read_bytes()
        with Image.open(photographs[index]) as image:
            picture = image.convert("RGB")
    else:
        picture = drawings.KINDS[kind](index)
        data = drawings.encoded(picture, "PNG" if index % 2 == 0 or picture.mode == "RGBA" else "JPEG")
    files = [data, *(drawings.copy(picture, change) for change in drawings.CHANGES)]
    return [fingerprint(f"{index:05} {i}", file) for i, file in enumerate(files)]


def table(figures: Iterable[tuple[str, Figures]]) -> Iterator[str]:
    """Yields the lines of a table in Markdown."""
    changes = " | ".join(change.name for change in drawings.CHANGES)
    yield f"| kind | pictures | listed | precision | recall | {changes} |"
    yield "|---" * (5 + len(drawings.CHANGES)) + "|"
    for kind, one in figures:
        recall = sum(one.recall) / len(one.recall)
        each = " | ".join(f"{share:.2f}" for share in one.recall)
        yield f"| {kind} | {one.number} | {one.listed} | {one.precision:.3f} | {recall:.3f} | {each} |"


def crowd(number: int) -> tuple[float, int]:
    """Returns the seconds that it takes to compare so many different figures on one ground, and how many are listed."""
    ones = [fingerprint(f"{i:05}", drawings.encoded(drawings.dot(i), "PNG")) for i in range(number)]
    start = time.perf_counter()
    found = grouped(ones)
    return time.perf_counter() - start, len(found)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=80, help="pictures of each kind; default: 80")
    parser.add_argument("--images", type=Path, help="folder of photographs; default: that in MIML_DATASET, else none")
    parser.add_argument("--crowd", type=int, default=0, help="also time so many figures on one ground; default: none")
    args = parser.parse_args()
    folder = args.images or (Path(os.environ["MIML_DATASET"]) / "images" if "MIML_DATASET" in os.environ else None)
    photographs = sorted(folder.iterdir())[::5] if folder else []
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
