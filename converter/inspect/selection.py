"""Shows the summary of a dataset, or chosen examples of it: `python -m converter.inspect DIR`.

Arguments, and the output for each:

    DIR                                             the summary
    DIR --examples=24 --split=train --where=sea     a picture of those examples
    DIR --examples=24 --where=?sea                  a picture of those of which it is not known whether they have it
    DIR --examples=24 --output=FOLDER               files of them
    DIR --filename=1.jpg                            the position and the fields of one example
"""

import csv
import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import field

from converter.dataset.examples import Located, find, read_split
from converter.dataset.lists import escaped_cell, read_csv
from converter.dataset.summary import summary
from converter.inspect import gallery
from converter.rejects import Reject
from converter.table import filenames
from converter.text import nfc, some
from multihot import command, flags, storage
from multihot.errors import UserError
from multihot.images import headers
from multihot.limits import DEFAULT, LimitOptions, Limits
from multihot.printable import printable
from multihot.settings import setting
from multihot.usage import Usage
from schemas import layout, metadata
from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo

# The words for the labels that --where can ask for.
_WORDS = {1: "required", 0: "excluded", UNKNOWN: "unknown"}


def select(
    directory: str, info: DatasetInfo, *, split: str = "", where: str = "", limits: Limits = DEFAULT
) -> Iterator[Located]:
    """Yields the examples of a split that match, in the order of the dataset, which is as good as shuffled.

    Args:
        directory: of the dataset.
        info: its manifest.
        split: name of the split; "" for all splits, one after the other.
        where: classes that an example must have; with a minus before them, classes that it must not have; with a
            question mark, classes of which that is unknown: `sea,-trees,?desert`. A name with a comma is in double
            quotes.
        limits: of an image.

    Raises:
        UserError: there is no such split or class, or the dataset is damaged.
        OSError: the dataset cannot be read.
    """
    wanted = _parse_where(where, info.classes)
    if UNKNOWN in wanted.values() and not info.has_unknown:
        raise UserError(f"--where={where}: in {directory} all labels are known, so that no example fits.")
    for name in [split] if split else [split.name for split in info.splits]:
        for located in read_split(directory, info, name, limits):
            if all(located.example.labels[i] == label for i, label in wanted.items()):
                yield located


def _parse_where(text: str, classes: Sequence[str]) -> dict[int, int]:
    """Returns the required labels, 0, 1 or UNKNOWN, by the index of their class."""
    # If a class has a name that starts with a sign, the name means this class.
    indices = {
        f"{sign}{name}": (i, label)
        for sign, label in (("?", UNKNOWN), ("-", 0), ("", 1))
        for i, name in enumerate(classes)
    }
    wanted: dict[int, int] = {}
    for part in _parts(text):
        term = nfc(part)
        if term not in indices:
            raise UserError(f"--where: there is no class {part!r}. There are: {some(classes)}")
        i, label = indices[term]
        if wanted.setdefault(i, label) != label:
            both = " and ".join(word for value, word in _WORDS.items() if value in (label, wanted[i]))
            raise UserError(f"--where: {classes[i]!r} cannot be both {both}. Received: {text!r}")
    return wanted


def _parts(text: str) -> list[str]:
    """Splits a text at commas outside of quotes, as the flags of the converter and of the trainer do."""
    try:
        return [part.strip() for row in csv.reader([text], strict=True, skipinitialspace=True) for part in row]
    except csv.Error as error:
        raise UserError(f"--where: {error}. A class with a comma is in double quotes. Received: {text!r}") from error


def describe(located: Located, classes: Sequence[str]) -> str:
    """Returns the position and the fields of an example, a line for each."""
    one = located.example
    try:
        image_format = headers.format_of(one.image)
    except headers.ImageError as error:
        image_format = f"none that is stored ({error.args[1]})"
    lines = {
        "filename": one.filename,
        "split": located.split,
        "shard": located.shard,
        "offset": located.offset,
        "labels": gallery.label_names(one, classes),
        "width x height": f"{one.width} x {one.height} pixels",
        "image": f"{image_format}, {len(one.image)} bytes",
    }
    return "\n".join(printable(f"{name:<16}{value}") for name, value in lines.items())


def _missing(directory: str, filename: str) -> str:
    """Returns the message that there is no such example, with the reason if its row was rejected."""
    sentence = f"{directory} has no example {filename!r}."
    for row in read_csv(directory, layout.REJECTS, Reject._fields):
        spellings = (filename, filenames.in_one_spelling(filename), filenames.normalized(filename))
        if nfc(row["filename"]) in map(escaped_cell, spellings):
            return f"{sentence} It was rejected: {row['csv']} line {row['line']}: {row['reason']}: {row['detail']}"
    return f"{sentence} Give the name with its folders, as in the CSV; upper and lower case differ."


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectOptions(LimitOptions):
    """The settings of a look into a dataset: without any, its summary is shown."""

    directory: str = field(metadata=setting("Folder of the dataset: ROOT/NAME/VERSION.", value="DIR", positional=True))
    examples: int | None = field(default=None, metadata=setting("Show the first N examples that match."))
    filename: str | None = field(default=None, metadata=setting("Show the example of this file name.", value="NAME"))
    split: str = field(default="", metadata=setting("Split of the examples. Default: all.", value="NAME"))
    where: str = field(
        default="",
        metadata=setting(
            "Classes that the examples have, with a minus, that they do not have, and with a question mark, of which "
            "that is unknown: sea,-trees,?desert.",
            value="CLASSES",
        ),
    )
    output: str = field(
        default="",
        metadata=setting("Write the image files of the examples and labels.csv to this folder.", value="FOLDER"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.examples is not None and self.examples < 1:
            raise UserError(f"--examples must be 1 or more. Received: {self.examples}")
        if self.examples and self.filename is not None:
            raise UserError("--examples and --filename exclude each other: give one of them.")
        if not self.examples and (self.split or self.where):
            raise UserError("--split and --where choose among examples: give --examples=N too.")
        if self.output and not self.examples and self.filename is None:
            raise UserError("--output takes examples: give --examples=N or --filename=NAME too.")


USAGE = Usage(
    module="converter.inspect",
    description="Shows the summary of a dataset; with --examples or --filename, examples of it.",
    example="data/miml/1.0.0 --examples=24 --where=sea",
    settings=(InspectOptions,),
)


def main(options: InspectOptions) -> None:
    """Prints the summary, or the examples that the flags select."""
    directory = options.directory.rstrip("/")
    for path in filter(None, (directory, options.output)):
        storage.check(path)
    info = metadata.load(directory)
    if options.filename is not None:
        _show_one(directory, info, options.filename, options)
    elif options.examples:
        found = select(directory, info, split=options.split, where=options.where, limits=options.limits)
        _show(itertools.islice(found, options.examples), options.examples, info, options)
    else:
        print(summary(info, directory))


def _show_one(directory: str, info: DatasetInfo, name: str, options: InspectOptions) -> None:
    filename = nfc(name)
    found = list(find(directory, info, filenames.normalized(filename), options.limits))
    if not found:
        raise UserError(_missing(directory, filename))
    print("\n\n".join(describe(located, info.classes) for located in found))
    if options.output:
        gallery.export(found, info.classes, options.output)


def _show(found: Iterator[Located], number: int, info: DatasetInfo, options: InspectOptions) -> None:
    if options.output:
        print(f"{gallery.export(found, info.classes, options.output)} images: {options.output}")
        return
    if number > gallery.MAX_PICTURES:
        raise UserError(f"A picture holds up to {gallery.MAX_PICTURES} examples. --output=FOLDER writes any number.")
    examples = list(found)
    if not examples:
        raise UserError("No example matches.")
    for located in examples:
        names = gallery.label_names(located.example, info.classes)
        print(printable(f"{located.split}  {located.example.filename}: {names}"))
    with tempfile.NamedTemporaryFile(prefix=f"{info.name}-", suffix=".png", delete=False) as file:
        gallery.grid(examples, info.classes, file.name, options.limits.max_pixels)
    print(f"Picture: {file.name}")


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))
