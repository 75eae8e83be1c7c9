"""Makes as many images as asked by varying real ones: no two have the same bytes, all are like the originals.

A JPEG is cut by a few random pixels at each side, half of the time mirrored, and encoded anew with its own tables of
quantization: so sizes in pixels and in bytes are those of the original, nearly.
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
# Cut at each side at most. The smallest photographs of MIML have 85 pixels.
_MAX_CUT = 6


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
    known = "".join(f"{path.name} {path.stat().st_size}\n" for path in paths)
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
    rng = random.Random(index)
    with PIL.Image.open(originals[index % len(originals)]) as original:
        width, height = original.size
        left, top, right, bottom = (rng.randint(0, min(_MAX_CUT, side // 8)) for side in (width, height) * 2)
        image: PIL.Image.Image = original.crop((left, top, width - right, height - bottom))
        if rng.random() < 0.5:
            image = image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        tables, sampling = getattr(original, "quantization", None), get_sampling(original)
        image.save(folder / name(index), "JPEG", qtables=tables, subsampling=sampling)


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
