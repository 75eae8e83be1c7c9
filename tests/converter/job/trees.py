"""Reads a finished dataset for comparisons, without what says when and from which rows it was made."""

import json
from pathlib import Path

from schemas import digest, layout
from schemas.rows import ROWS


def data(folder: Path) -> dict[str, bytes]:
    """Returns the files of a dataset, without the one about the conversion, and without the rows of its notes."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files = {name: path.read_bytes() for name, path in paths.items() if name != layout.CONVERSION}
    return {
        name: without_rows(content) if name.startswith(f"{layout.MADE_FROM}/") else content
        for name, content in files.items()
    }


def without_rows(note: bytes) -> bytes:
    """Returns an intact note about a shard without its rows."""
    fields, is_intact = digest.remove(json.loads(note), escaped=False)
    assert is_intact
    assert ROWS in fields
    return json.dumps({name: value for name, value in fields.items() if name != ROWS}).encode()
