"""Makes as many images as asked from real ones: they are as different from each other as those are.

Parts of two originals, half of the time mirrored, are laid over each other, and encoded with the tables of quantization
of the first, about: so sizes in pixels and in bytes are those of the originals, nearly. One image in a hundred is the
image before it with a few pixels cut off, so that 2 % have a near duplicate, as 1.9 % of the 2000 photographs of MIML.
If all images were parts of one original each, nearly all would have one, and most of the time of a conversion would go
into comparing them.
"""

import csv
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import PIL.Image
from PIL.JpegImagePlugin import get_sampling

CLASSES = ("desert", "mountains", "sea", "sunset", "trees")
IMAGES_HELP = "folder of JPEGs to vary; default: images in the folder that MIML_DATASET names, else drawn ones"
CACHE_HELP = "folder that keeps made images for the next time; default: none"
# Shares of the sides of an original that its part has.
_PART = (0.55, 0.95)
# Shares of the first original in an image.
_FIRST = (0.4, 0.6)
# Factor for tables of quantization: an image of two is smoother, and would have fewer bytes.
_TABLES = 0.7
# One of so many images is nearly the same as the one before it. At each side, so many pixels are cut off at most.
_NEAR, _MAX_CUT = 100, 3
# To be raised when the images change.
_VERSION = 2


_ROOT = Path(__file__).resolve().parents[2]


class Made(NamedTuple):
    """A made data set.

    Attributes:
        images: folder with the images and nothing else.
        csv: a column with their names, and one of 0 and 1 for each of CLASSES.
        number: of images.
    """

    images: Path
    csv: Path
    number: int


def make(originals: Path, number: int, folder: Path) -> Made:
    """Makes a data set, unless it is there from another time.

    Args:
        originals: folder of JPEGs, at least one.
        number: of images to make.
        folder: of all that is made; this data set has a folder of its own in there.

    Returns:
        The same for the same originals and number, byte for byte.

    Raises:
        FileNotFoundError: there is no JPEG in `originals`.
    """
    paths = sorted(path for path in originals.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise FileNotFoundError(f"no JPEG in {originals}: --images names a folder that has some")
    known = f"{_VERSION}\n" + "".join(f"{path.name} {path.stat().st_size}\n" for path in paths)
    here = folder / f"{number}-{hashlib.sha256(known.encode()).hexdigest()[:12]}"
    made = Made(here / "images", here / "labels.csv", number)
    if not made.csv.exists():
        made.images.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as executor:
            list(executor.map(partial(_vary, paths, made.images), range(number), chunksize=200))
        _write_csv(made)
    return made


def name(index: int) -> str:
    """Returns the name of an image."""
    return f"{index:07d}.jpg"


def _vary(originals: Sequence[Path], folder: Path, index: int) -> None:
    copied = index % _NEAR == _NEAR - 1
    rng = random.Random(index - copied)
    with PIL.Image.open(rng.choice(originals)) as first, PIL.Image.open(rng.choice(originals)) as second:
        image = PIL.Image.blend(_part(second, first.size, rng), _part(first, first.size, rng), rng.uniform(*_FIRST))
        tables, sampling = getattr(first, "quantization", None), get_sampling(first)
        if len(tables or ()) == 1:  # Of a picture in grey.
            tables, sampling = None, -1
        finer = {i: [max(1, int(_TABLES * step)) for step in table] for i, table in (tables or {}).items()} or None
        if copied:
            cut = [rng.randint(1, _MAX_CUT) for _ in range(4)]
            image = image.crop((cut[0], cut[1], image.width - cut[2], image.height - cut[3]))
        image.save(folder / name(index), "JPEG", qtables=finer, subsampling=sampling)


def _part(original: PIL.Image.Image, size: tuple[int, int], rng: random.Random) -> PIL.Image.Image:
    """Returns a part of an image, in colours and in another size."""
    width, height = (side * rng.uniform(*_PART) for side in original.size)
    left, top = rng.uniform(0, original.width - width), rng.uniform(0, original.height - height)
    part = original.convert("RGB").resize(
        size, PIL.Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
    )
    return part.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def _write_csv(made: Made) -> None:
    """Written last, and in one go: a data set with a CSV is a whole one."""
    rng = random.Random(0)
    unfinished = made.csv.with_suffix(".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("filename", *CLASSES))
        writer.writerows((name(i), *(rng.randint(0, 1) for _ in CLASSES)) for i in range(made.number))
    unfinished.replace(made.csv)


def originals(given: Path | None, temporary: Path) -> Path:
    """Returns the folder of the images to vary.

    Args:
        given: by a flag; otherwise the real data set, or, where there is none, drawn images.
        temporary: where these may be drawn.
    """
    dataset = os.environ.get("MIML_DATASET")
    if given or dataset:
        return given or Path(str(dataset)) / "images"
    script = _ROOT / "scripts" / "make_example.py"
    subprocess.run([sys.executable, script, f"--output={temporary / 'drawn'}"], check=True)
    return temporary / "drawn" / "images"


def folder(cache: Path | None, temporary: Path) -> Path:
    """Returns the folder for what is made; it is there."""
    found = cache or temporary
    found.mkdir(parents=True, exist_ok=True)
    return found
