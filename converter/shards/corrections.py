"""Corrects labels of rows, as a CSV of corrections says: `converter --corrections=corrections.csv`.

filename,class,given,corrected
12.jpg,sea,0,1

A correction is for one label of one image. `given` is the label that the row has, so that a row that has changed since
the corrections were made is found. Further columns, such as the line of the row, are for people.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from converter.options import ConvertOptions
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.table import records
from converter.table.dialect import FormError
from converter.text import nfc, some
from multihot import formulas
from multihot.errors import UserError
from schemas import example
from schemas.corrections import COLUMNS

_LABELS = {"0": 0, "1": 1}
# Names in a message.
_MOST_NAMED = 5


class Correction(NamedTuple):
    """A label that is corrected.

    Attributes:
        line: of the correction in its file.
        label: index of the class in the label vector.
        given: label of the row, 0 or 1.
        corrected: label of the example, the other one.
    """

    line: int
    label: int
    given: int
    corrected: int


@dataclasses.dataclass(frozen=True)
class Corrections:
    """The corrections of a conversion.

    Attributes:
        path: of their file; "" if there is none.
        classes: names of the classes, in the order of the label vector.
        of: the corrections of an image, by its file name.
    """

    path: str
    classes: tuple[str, ...]
    of: Mapping[str, tuple[Correction, ...]]

    def __len__(self) -> int:
        """The number of labels that are corrected."""
        return sum(map(len, self.of.values()))

    def applied(self, sources: Iterable[Source]) -> Batch[Source]:
        """Returns the sources with corrected labels.

        Raises:
            UserError: a row has another label than the one that is to be corrected.
        """
        return Batch(self._applied(source) if source.row.filename in self.of else source for source in sources)

    def _applied(self, source: Source) -> Source:
        row, labels = source.row, bytearray(source.row.labels)
        for line, label, given, corrected in self.of[row.filename]:
            if labels[label] != given:
                has = "unknown" if labels[label] == example.UNKNOWN else labels[label]
                raise UserError(
                    f"{self.path} line {line}: {row.filename} has changed since this correction was made. Its label of "
                    f"{self.classes[label]} was {given}, and is {has} ({row.csv} line {row.line}). Remove the line."
                )
            labels[label] = corrected
        return source._replace(row=row._replace(labels=bytes(labels)))

    def used(self, sources: Iterable[Source]) -> Batch[str]:
        """Returns the names of those images of a batch whose labels are corrected."""
        return Batch(source.row.filename for source in sources if source.row.filename in self.of)

    def unused(self, used: Iterable[str]) -> str:
        """Returns the sentence about corrections of images that no row names; "" if all were used."""
        lines = {name: self.of[name][0].line for name in self.of.keys() - set(used)}
        if not lines:
            return ""
        ordered = sorted(lines, key=lambda name: lines[name])
        places = some([f"{name} (line {lines[name]})" for name in ordered[:_MOST_NAMED]])
        more = f" and {len(ordered) - _MOST_NAMED} more" if len(ordered) > _MOST_NAMED else ""
        return (
            f"{self.path} has corrections of images that are not in the table, or whose rows are rejected: "
            f"{places}{more}. Remove these lines, or correct the table."
        )


def read(options: ConvertOptions, classes: Sequence[str]) -> Corrections:
    """Reads the corrections of a conversion: CSV in UTF-8, as suspects and spreadsheets write it, or Parquet.

    Args:
        options: of the conversion.
        classes: names of the classes, in the order of the label vector.

    Raises:
        UserError: the file cannot be read, or a line of it is no correction.
    """
    if not options.corrections:
        return Corrections("", (), {})
    # The file has a form of its own, whatever that of the table is.
    own = dataclasses.replace(options, delimiter="", encoding="utf-8", skip_lines=0)
    try:
        return _read(own, classes)
    except FormError as error:
        # The flags that the error names are those of the table, and would change how it is read.
        raise UserError(
            f"{error.fact}. Corrections are CSV in UTF-8 with the names of the columns in the first line: save them so."
        ) from error


def _read(options: ConvertOptions, classes: Sequence[str]) -> Corrections:
    path, found = options.corrections, dict[str, dict[int, Correction]]()
    line, cells = records.read_header(path, options)
    header = [str(cell).strip() for cell in cells]
    if missing := [name for name in COLUMNS if header.count(name) != 1]:
        raise UserError(
            f"{path} line {line}: corrections must have the columns {', '.join(COLUMNS)}, each once. "
            f"Wrong: {', '.join(missing)}. Received: {some(header)}"
        )
    columns = [header.index(name) for name in COLUMNS]
    indices = {name: i for i, name in enumerate(classes)}
    for line, cells in records.read_records(path, options, columns):
        if all(map(records.is_blank, cells)):
            continue
        texts = [str(cells[i]).strip() if i < len(cells) else "" for i in columns]
        filename, label, given, corrected = (nfc(formulas.unescaped(text)) for text in texts)
        where = f"{path} line {line}"
        if not filename:
            raise UserError(f"{where} has no filename.")
        if label not in indices:
            raise UserError(f"{where}: there is no class {label!r}. The classes are: {some(classes)}")
        for name, text in (("given", given), ("corrected", corrected)):
            if text not in _LABELS:
                raise UserError(f"{where}: {name} must be 0 or 1. Received: {text!r}")
        if given == corrected:
            raise UserError(f"{where} corrects nothing: given and corrected are both {given}. Remove the line.")
        of_image = found.setdefault(filename, {})
        if before := of_image.get(indices[label]):
            # A second review may take back what a first one has corrected.
            is_same = _LABELS[given] == before.given
            remedy = "Remove one of them." if is_same else "If this one takes that one back, remove both."
            raise UserError(f"{where}: line {before.line} corrects the same label, {label} of {filename}. {remedy}")
        of_image[indices[label]] = Correction(line, indices[label], _LABELS[given], _LABELS[corrected])
    corrections = {name: tuple(of_image.values()) for name, of_image in found.items()}
    return Corrections(path, tuple(classes), corrections)
