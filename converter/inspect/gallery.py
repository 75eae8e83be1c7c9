"""Draws examples as a grid of pictures, or writes them as files."""

import csv
import io
import re
import textwrap
import warnings
from collections.abc import Collection, Iterable, Sequence

import PIL.Image
from matplotlib.figure import Figure

from converter import formulas
from converter.dataset.examples import Located
from converter.images import decoders, prove
from converter.images.headers import ImageError, read_header
from converter.limits import DEFAULT
from converter.rejects import Reason
from converter.system import storage
from converter.text import CONTROL, composed
from schemas.errors import UserError
from schemas.example import Example

# A picture of more is no glance any more, and takes seconds to draw.
MAX_PICTURES = 120
_COLUMNS = 6
_PICTURE_PIXELS = 240
# Beside the folder of images that `export` writes.
_LABELS = "labels.csv"
_IMAGES = "images"


def label_names(one: Example, classes: Sequence[str]) -> str:
    """Returns the names of an example's classes, for a person."""
    return ", ".join(name for name, label in zip(classes, one.labels, strict=True) if label) or "none"


def grid(examples: Sequence[Located], classes: Sequence[str], path: str, max_pixels: int = DEFAULT.max_pixels) -> None:
    """Draws each example with its name and its labels beneath.

    Args:
        examples: at least one; of more than MAX_PICTURES the figure gets very high.
        classes: names of the classes.
        path: of the PNG, on this machine.
        max_pixels: that an image may have.

    Raises:
        UserError: an image is too large, or cannot be decoded.
    """
    texts = [f"{_lines(one.filename)}\n{_lines(label_names(one, classes))}" for _, _, _, one in examples]
    rows = -(-len(examples) // _COLUMNS)
    most_lines = max(text.count("\n") for text in texts) + 1
    figure = Figure(figsize=(2.2 * _COLUMNS, (2.2 + 0.16 * most_lines) * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for panel in panels[len(examples) :]:
        panel.axis("off")
    for panel, located, text in zip(panels, examples, texts, strict=False):
        panel.imshow(_picture(located, max_pixels))
        panel.set(xticks=[], yticks=[])
        # A dollar sign in a name is no formula.
        panel.set_xlabel(text, fontsize=8, parse_math=False)
    with warnings.catch_warnings():
        # A name in a script that the font has not: boxes in the picture, and the name on the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=100, format="png")


def export(examples: Iterable[Located], classes: Sequence[str], folder: str) -> int:
    """Writes images as files, as they are stored, and a CSV of their labels.

    `python -m converter --csv=FOLDER/labels.csv --images=FOLDER/images` makes a dataset of them again.

    Args:
        examples: in any order.
        classes: names of the classes.
        folder: local or in a store; it must hold nothing.

    Returns:
        How many were written.

    Raises:
        UserError: there is something in the folder.
        OSError: a file cannot be written.
    """
    if next(storage.list_files(folder), None):
        raise UserError(f"--output: there are files in {folder} already. Choose another folder.")
    rows: dict[str, tuple[int, ...]] = {}
    for _, _, _, one in examples:
        name = safe_name(one.filename, rows)
        storage.write(f"{folder}/{_IMAGES}/{name}", one.image)
        rows[name] = one.labels
    column = "filename"
    while column in classes:
        column += "_"
    text = io.StringIO()
    # In quotes, so that no name has a part in what is found to be the delimiter.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    header = [formulas.escaped(name) for name in (column, *classes)]  # The converter removes the escapes.
    writer.writerows([header, *((name, *labels) for name, labels in rows.items())])
    storage.write(f"{folder}/{_LABELS}", text.getvalue())
    return len(rows)


def safe_name(filename: str, taken: Collection[str]) -> str:
    """Returns a name for a file: that of the example, unless it leads out of a folder or no CSV should have it.

    A CSV should not have names that a spreadsheet runs as formulas.

    Args:
        filename: of the example; who wrote the dataset may have put anything there.
        taken: names that other files have.
    """
    parts = (CONTROL.sub("_", part).strip() for part in re.sub("[:\\\\]", "_", composed(filename)).split("/"))
    name = formulas.without("/".join(part for part in parts if part not in ("", ".", ".."))) or "unnamed"
    while name in taken:
        name = f"_{name}"
    return name


def _picture(located: Located, max_pixels: int) -> PIL.Image.Image:
    one = located.example
    where = f"{located.shard} at byte {located.offset}: {one.filename!r}"
    try:
        image_format, _ = read_header(one.image, max_pixels)
        with decoders.told(where):
            pixels = prove.decode(one.image, image_format)
    except ImageError as error:
        if error.args[0] == Reason.TOO_LARGE:
            raise UserError(f"{where} is too large to be shown: {error.args[1]}") from error
        raise UserError(f"{where} cannot be decoded. `python -m converter.verify` has details.") from error
    picture = PIL.Image.fromarray(pixels)
    picture.thumbnail((_PICTURE_PIXELS, _PICTURE_PIXELS))
    return picture


def _lines(text: str) -> str:
    """Breaks a text into what fits beneath a picture, and leaves out what would make it too high."""
    return textwrap.fill(CONTROL.sub("_", text), 30, max_lines=3, placeholder=" ...")
