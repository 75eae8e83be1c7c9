"""Draws examples as a grid of pictures, or writes them as files."""

import csv
import io
import re
import textwrap
import warnings
from collections.abc import Collection, Iterable, Sequence

import PIL.Image
from matplotlib.figure import Figure

from converter.dataset.examples import Located
from converter.images import decoders, prove
from converter.images.headers import ImageError, read_header
from converter.limits import DEFAULT
from converter.rejects import Reason
from converter.text import CONTROL, nfc
from multihot import formulas, storage
from multihot.errors import UserError
from schemas.example import UNKNOWN, Example

# Largest number of pictures in a grid. Drawing more takes seconds, and more cannot be seen at a glance.
MAX_PICTURES = 120
_COLUMNS = 6
_PICTURE_PIXELS = 240
# The cell for each label in the CSV that `export` writes. A blank cell would be easy to take for a negative.
_CELLS: dict[int, int | str] = {0: 0, 1: 1, UNKNOWN: "unknown"}
# The names of the CSV and of the folder of images that `export` writes.
_LABELS = "labels.csv"
_IMAGES = "images"


def label_names(one: Example, classes: Sequence[str]) -> str:
    """Returns the names of an example's classes as one text, "none" if it has none, and then of unknown ones."""
    names = {
        label: [n for n, other in zip(classes, one.labels, strict=True) if other == label] for label in (1, UNKNOWN)
    }
    known = ", ".join(names[1]) or "none"
    return f"{known}; unknown: {', '.join(names[UNKNOWN])}" if names[UNKNOWN] else known


def grid(examples: Sequence[Located], classes: Sequence[str], path: str, max_pixels: int = DEFAULT.max_pixels) -> None:
    """Draws each example with its name and its labels below it.

    Args:
        examples: at least one; with more than MAX_PICTURES, the figure becomes very high.
        classes: names of the classes.
        path: of the PNG, on this machine.
        max_pixels: largest number of pixels of an image.

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
        # A dollar sign in a name does not start a formula.
        panel.set_xlabel(text, fontsize=8, parse_math=False)
    with warnings.catch_warnings():
        # Letters that the font lacks are boxes in the picture. The terminal shows the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=100, format="png")


def export(examples: Iterable[Located], classes: Sequence[str], folder: str) -> int:
    """Writes images as files, as they are stored, and a CSV of their labels.

    `python -m converter --csv=FOLDER/labels.csv --images=FOLDER/images` converts them to a dataset again; for unknown
    labels, with `--unknown_labels=unknown`.

    Args:
        examples: in any order.
        classes: names of the classes.
        folder: local or in a store; it must be empty.

    Returns:
        The number of images written.

    Raises:
        UserError: the folder is not empty.
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
    # Names are in quotes, so that delimiters in them do not count when the converter detects the delimiter.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    header = [formulas.escaped(name) for name in (column, *classes)]  # The converter removes the escapes.
    writer.writerows([header, *((name, *(_CELLS[label] for label in labels)) for name, labels in rows.items())])
    storage.write(f"{folder}/{_LABELS}", text.getvalue())
    return len(rows)


def safe_name(filename: str, taken: Collection[str]) -> str:
    """Returns a safe name for the file of an example: one inside the folder, that is no formula in a spreadsheet.

    Args:
        filename: of the example; in a dataset of unknown origin it may be any text.
        taken: names of other files.
    """
    parts = (CONTROL.sub("_", part).strip() for part in re.sub("[:\\\\]", "_", nfc(filename)).split("/"))
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
    """Breaks a text into lines that fit below a picture, and cuts it after three lines."""
    return textwrap.fill(CONTROL.sub("_", text), 30, max_lines=3, placeholder=" ...")
