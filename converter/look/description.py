"""Describes the findings about a table and a folder in the text that is printed."""

import re
from collections.abc import Iterable, Iterator, Sequence

from converter.dataset import remarks
from converter.look.findings import Column, Findings, Glimpse
from converter.options import ConvertOptions
from converter.rejects import Reason
from converter.splits import augmented
from converter.table import suggestions
from converter.table.parquet import Cell
from converter.text import some

# Columns of one use that are shown, and characters of a cell.
_COLUMNS, _CHARACTERS = 10, 40
# The share of names that are no files from which they have something in common.
_MANY = 0.1
# Classes that are shown, and characters of their lines.
_CLASSES, _LINE = 20, 96


def of_findings(options: ConvertOptions, found: Findings) -> list[str]:
    """Returns the lines about a table and a folder that can be read."""
    return [
        *_table(found),
        *_shown(found.columns, "is taken for"),
        "",
        *_classes(found),
        "",
        *_files(options, found),
        *_split_sizes(options, found),
        *_rejects(found),
        *(f"Note: {sentence}" for sentence in (*remarks.of_classes(found.tables[0].classes), *_augmented(found))),
        "",
    ]


def of_glimpse(glimpse: Glimpse) -> list[str]:
    """Returns the lines about a table of which little is known: its columns, and what they look like."""
    if glimpse.lines:
        return [f"{glimpse.path} starts with the lines:", *(f"  {_cut(line, _LINE)}" for line in glimpse.lines), ""]
    cells = f", with cells of the first {_count(glimpse.num_rows, 'row')}" if glimpse.num_rows else ""
    return [
        f"{glimpse.path}: {glimpse.form}. Its columns{cells}:",
        *_shown(glimpse.columns, "looks like"),
        "",
    ]


def too_many(found: Findings, allowed: int) -> str:
    """Returns the reason why nothing would be published."""
    if found.num_rejects > allowed:
        rows = _count(found.num_rows, "row")
        return f"{found.num_rejects} of {rows} would be rejected, and {allowed} may be (--max_rejects)"
    return "no image is left"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "es" if word.endswith("s") else "s")


def _few(names: Sequence[str]) -> str:
    return some(names[:3]) + (", ..." if len(names) > 3 else "")


def _table(found: Findings) -> Iterator[str]:
    paths = [table.path for table in found.tables]
    files = paths[0] if len(paths) == 1 else f"{len(paths)} files, {some(paths)}"
    number = _count(found.num_rows, "row")
    yield f"{files}: {found.form}, {number if found.complete else f'long, of which the first {number} were read'}"


def _shown(columns: Sequence[Column], heading: str) -> Iterator[str]:
    """Yields a table of columns; of many columns with the same use, the first ones and the last."""
    shown: list[Column | str] = []
    numbers: dict[str, int] = {}
    for column in columns:
        numbers[column.use] = numbers.get(column.use, 0) + 1
        if numbers[column.use] <= _COLUMNS:
            shown.append(column)
        elif numbers[column.use] == _COLUMNS + 1:
            shown.append(column.use)  # The place of the others.
    rows = [("column", heading, "cells")]
    for each in shown:
        if isinstance(each, str):
            last = next(column for column in reversed(columns) if column.use == each)
            rows.append((f"... {numbers[each] - _COLUMNS} more", each, f"to {_name(last)}: {_cells(last)}"))
        else:
            rows.append((_name(each), each.use, _cells(each)))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, use, cells in rows:
        yield f"  {name:{widths[0]}}  {use:{widths[1]}}  {cells}".rstrip()


def _name(column: Column) -> str:
    return _cell(column.name) if column.name else "(no name)"


def _cells(column: Column) -> str:
    shown: list[str] = []
    for cell in map(_cell, column.cells):
        if shown and sum(map(len, shown)) + len(cell) > _CHARACTERS:
            break
        shown.append(cell)
    more = column.more or len(shown) < len(column.cells)
    return ", ".join(shown) + (", ..." if more else "")


def _cell(cell: Cell) -> str:
    """Returns a cell; in quotes if its ends would not be seen. The middle of a long one is left out."""
    text = cell.strip() if isinstance(cell, str) else str(list(cell))
    text = _cut(text, _CHARACTERS)
    if re.fullmatch(r"[^\s,'\"]+|[\[{(].*[\]})]", text):
        return text
    return repr(text) if text else "(blank)"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2 - 3]}...{text[-length // 2 :]}"


def _classes(found: Findings) -> Iterator[str]:
    classes = found.tables[0].classes
    yield f"{_count(len(classes), 'class')}, each with the number of rows that have it, of {found.num_rows}:"
    lines = [
        f"{_cell(name)}: {positives}" + (f" (unknown: {unknown})" if unknown else "")
        for name, positives, unknown in zip(classes, found.positives, found.unknown, strict=True)
    ]
    yield from _wrapped(lines if len(lines) <= _CLASSES else [*lines[: _CLASSES - 1], f"... {lines[-1]}"])
    without = [name for name, positives in zip(classes, found.positives, strict=True) if not positives]
    if without:
        yield f"  In no row: {_count(len(without), 'class')}, {_few(without)}"
    if found.without_labels:
        yield f"  Without any label: {_count(found.without_labels, 'row')}"


def _wrapped(items: Iterable[str]) -> list[str]:
    """Returns items in lines; none is cut in two."""
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > _LINE:
            lines.append("")
        lines[-1] += f"  {item}"
    return lines


def _files(options: ConvertOptions, found: Findings) -> Iterator[str]:
    yield (
        f"{options.images}: {_count(found.num_files, 'file')}; {found.num_images} of {_count(found.num_rows, 'row')} "
        "can be matched with one (no image was opened)"
    )
    if found.complete and found.unlisted:
        yield f"  Files that no row names: {len(found.unlisted)}, such as {_few(found.unlisted)}"
    if found.missing:
        names = [reject.filename for reject in found.missing]
        yield f"  Names that are no files: {len(names)}, such as {_few(names)}"
        if found.complete and len(names) >= _MANY * found.num_rows:
            hint = suggestions.hint(options, found.missing, found.unlisted, found.num_images)
            yield from [f"  {hint}"] if hint else []


def _split_sizes(options: ConvertOptions, found: Findings) -> Iterator[str]:
    if not found.num_images:
        return
    if options.split_column:
        how = f"by column {options.split_column!r}"
    elif options.split_method == "stratified" or options.group_near_duplicates:
        shares = ", ".join(f"{name} {float(share):.4g}" for name, share in options.splits)
        yield f"Splits, as shares of {found.num_images} images, since a conversion deals them out together: {shares}"
        return
    elif options.has_split_files:
        how = "by the files of the table"
    else:
        how = "by group" if options.group_column or options.group_pattern else "by a hash of the names"
    yield f"Splits, {how}: " + ", ".join(f"{name} {_count(number, 'image')}" for name, number in found.splits.items())
    yield from (f"  No image falls into the split {name}." for name, number in found.splits.items() if not number)


def _rejects(found: Findings) -> Iterator[str]:
    if not found.rejects:
        yield "No row would be rejected before its image is read."
        return
    yield f"{_count(found.num_rejects, 'row')} would be rejected; the first one for each reason:"
    for reason, (number, first) in found.rejects.items():
        yield f"  {number:>7} {reason}: {first.csv} line {first.line}, {first.filename!r}: {first.detail}"
        if reason == Reason.CONFLICTING_ROWS:
            yield "          (If the table has a row for each label: --merge_rows)"


def _augmented(found: Findings) -> Iterator[str]:
    if found.num_augmented:
        yield (
            f"{found.num_augmented} images have augmented versions in several splits, by names such as "
            f"NAME.rf.HASH.jpg. To keep all versions of an image in one split: {augmented.group_flag()}"
        )
