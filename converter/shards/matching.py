"""Matches rows with the files that they name: at most one row gets a file, and the others are rejected or merged."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.table import filenames, places
from converter.table.row import Row
from converter.text import nfc
from multihot import limits
from multihot.storage import File
from schemas.example import UNKNOWN

# Fields in which all rows that name one file must agree; with --merge_rows, all but the first.
_CLAIMS = ("labels", "split", "group")
# The end of the detail of rows whose splits and groups agree, by which differs_in_labels_alone finds them.
_ONLY_LABELS_DIFFER = "and differs in labels"


class Source(NamedTuple):
    """A row, and the file that it names."""

    row: Row
    file: File


class Merged(NamedTuple):
    """A row whose labels have become part of the labels of another row."""

    row: Row


_Found = Source | Reject | File | Merged


def differs_in_labels_alone(reject: Reject) -> bool:
    """Whether a row was rejected only since another row of the same file has other labels."""
    return reject.reason == Reason.CONFLICTING_ROWS and reject.detail.endswith(_ONLY_LABELS_DIFFER)


class Matcher:
    """Matches rows and files, as the options of a conversion say."""

    def __init__(self, options: ConvertOptions):
        """Stores the options."""
        self._max_bytes, self._merges = options.max_image_bytes, options.merge_rows
        self._key = filenames.key(options.filename_match)
        # If a name in a row is that of its file, its group and its split have been decided before.
        self._place = None if options.names_are_paths else places.placer(options)

    def match_all(self, rows: Iterable[Row | Reject], files: Iterable[File]) -> Iterator[_Found]:
        """Yields the results of `match` for rows and files of many names."""
        by_key: defaultdict[str, tuple[list[Row | Reject], list[File]]] = defaultdict(lambda: ([], []))
        for row in rows:
            by_key[self._key(row.filename)][0].append(row)
        for file in files:
            by_key[self._key(nfc(file.name))][1].append(file)
        for same_key in by_key.values():
            yield from self.match(*same_key)

    def match(self, rows: Iterable[Row | Reject], files: Iterable[File]) -> Iterator[_Found]:
        """Yields at most one Source, a Reject or Merged for each other row, and the files that no row names.

        Args:
            rows: rows that name the same file, and rows that name it and have been rejected, in any order.
            files: files of this name, in any order.
        """
        given, found = sorted(rows), sorted(files, key=lambda file: file.path)
        rejected = [row for row in given if isinstance(row, Reject)]
        candidates = [row for row in given if isinstance(row, Row)]
        yield from rejected
        yield from () if given else found
        # Names that --filename_match takes for one, or that differ in composed and decomposed characters alone.
        if len(found) > 1:
            yield from _ambiguous(candidates, found)
            return
        if self._place:
            filename = nfc(found[0].name) if found else min((row.filename for row in candidates), default="")
            candidates = [places.placed(row, filename, self._place) for row in candidates]
        conflicting = list(self._conflicts(candidates, rejected))
        if conflicting or not candidates:
            yield from conflicting
            return
        first, *others = candidates
        fault = self._fault(found)
        if self._merges:
            yield from (_reject(row, *fault) if fault else Merged(row) for row in others)
            first = first._replace(labels=_union([row.labels for row in candidates])) if others else first
        else:
            for row in others:
                yield _reject(row, Reason.DUPLICATE_NAME, f"{_where(first, row)} says the same; that line was kept")
        yield _reject(first, *fault) if fault else Source(first, found[0])

    def _fault(self, found: Sequence[File]) -> tuple[Reason, str] | None:
        """Returns the reason why a file cannot be used, and a detail; None if nothing speaks against it."""
        if not found:
            return Reason.MISSING_FILE, "no such file in the folder of images"
        if not found[0].inside:
            return Reason.UNSAFE_PATH, "a symbolic link that leads out of the folder of images"
        if not found[0].size:
            return Reason.EMPTY_FILE, "the file has 0 bytes"
        if found[0].size > self._max_bytes:
            return Reason.TOO_LARGE, limits.too_many_bytes(found[0].size, self._max_bytes)
        return None

    def _conflicts(self, rows: Sequence[Row], rejected: Sequence[Reject]) -> Iterator[Reject]:
        """Yields every row as a Reject that names a row in conflict with it; nothing if all rows agree.

        All conflicting rows are rejected: keeping the first would let the order of the rows decide the labels. Where
        rows are merged, a rejected one is in conflict with the others too, since they do not have its labels.
        """
        if self._merges and rejected:
            for row in rows:
                detail = f"{_where(rejected[0], row)} names this file too, and was rejected ({rejected[0].reason})"
                yield _reject(row, Reason.CONFLICTING_ROWS, detail)
            return
        claims = _CLAIMS[1:] if self._merges else _CLAIMS

        def claim(row: Row) -> tuple[object, ...]:
            return tuple(getattr(row, name) for name in claims)

        other = next((row for row in rows[1:] if claim(row) != claim(rows[0])), None)
        for row in rows if other else ():
            against = other if other and claim(row) == claim(rows[0]) else rows[0]
            differ = [name for name in claims if getattr(row, name) != getattr(against, name)]
            detail = f"{_where(against, row)} names this file too, and differs in {' and '.join(differ)}"
            yield _reject(row, Reason.CONFLICTING_ROWS, detail)


def _union(labels: Sequence[bytes]) -> bytes:
    """Returns the labels of rows that are merged: 1 where any row has the label, else unknown where any row says so."""
    return bytes(1 if 1 in each else UNKNOWN if UNKNOWN in each else 0 for each in map(set, zip(*labels, strict=True)))


def _ambiguous(rows: Iterable[Row], files: Sequence[File]) -> Iterator[Reject]:
    names = " and ".join(repr(nfc(file.name)) for file in files[:2])
    if nfc(files[0].name) == nfc(files[1].name):
        names = f"{names}, one in composed and one in decomposed characters"
    more = f" and {len(files) - 2} more" if len(files) > 2 else ""
    for row in rows:
        yield _reject(row, Reason.AMBIGUOUS_NAME, f"the folder has {names}{more}")


def _reject(row: Row, reason: Reason, detail: str) -> Reject:
    return Reject(row.csv, row.line, row.filename, reason, detail)


def _where(row: Row | Reject, reader: Row) -> str:
    """Returns the line of a row, and its CSV if it is another one than that of `reader`."""
    return f"line {row.line}" if row.csv == reader.csv else f"{row.csv} line {row.line}"
