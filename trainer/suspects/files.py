"""Writes suspects.csv, and the rows of corrections that the converter applies."""

import csv
import io
from collections.abc import Iterable, Sequence

from multihot import formulas
from schemas import corrections
from trainer.suspects.examples import Examples
from trainer.suspects.finding import Suspect

SUSPECTS = "suspects.csv"
CORRECTIONS = "corrections.csv"
# A suspect label of an image: the split of the image, the row it was made from, the label that the row has, and the
# one that is suggested, with its probability.
COLUMNS = ("filename", "split", *corrections.PLACE, "class", "given", "suggested", "confidence", "kind")


def suspects_csv(found: Sequence[Suspect], examples: Examples) -> str:
    """Returns the text of suspects.csv: a row for each label, in the order of the suspects."""
    rows: list[tuple[object, ...]] = []
    for suspect in found:
        name, place = examples.filenames[suspect.example], examples.place(suspect.example)
        rows.extend(
            (
                name,
                examples.splits[examples.split_of[suspect.example]],
                *place,
                examples.classes[change.label],
                change.given,
                change.suggested,
                f"{suspect.confidence:.4f}",
                suspect.kind,
            )
            for change in suspect.changes
        )
    return table([COLUMNS, *rows])


def correction_rows(suspect: Suspect, examples: Examples) -> list[str]:
    """Returns the lines of corrections.csv for a suspect that has been accepted, one for each label."""
    name, place = examples.filenames[suspect.example], examples.place(suspect.example)
    return [
        table([(name, examples.classes[change.label], change.given, change.suggested, *place)])
        for change in suspect.changes
    ]


def correction_header() -> str:
    """Returns the first line of corrections.csv."""
    return table([(*corrections.COLUMNS, *corrections.PLACE)])


def table(rows: Iterable[Sequence[object]]) -> str:
    """Returns the text of a CSV, in which no cell is a formula of a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([formulas.escaped(str(cell)) for cell in row] for row in rows)
    return text.getvalue()
