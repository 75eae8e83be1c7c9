"""Tables of flags are written from the fields of a dataclass."""

import dataclasses

import pytest

from multihot import tables
from multihot.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Config:
    folder: str = dataclasses.field(metadata=setting("Folder.", value="DIR", positional=True))
    output: str = dataclasses.field(metadata=setting("Output."))
    size: int = dataclasses.field(default=3_000, metadata=setting("Size, in kB.", flag="kb", unit=1000))
    kind: str = dataclasses.field(default="a", metadata=setting("a|b.", choices=("a", "b")))
    names: tuple[str, ...] = dataclasses.field(default=(), metadata=setting("Names."))
    overwrite: bool = dataclasses.field(default=False, metadata=setting("Overwrite."))


_TABLE = """\
| flag | default | |
|---|---|---|
| `DIR` | required | Folder. |
| `--output` | required | Output. |
| `--kb` | `3` | Size, in kB. |
| `--kind` | `a` | a&#124;b. Choices: `a`, `b`. |
| `--names` |  | Names. |
| `--overwrite` | off | Overwrite. |"""


def test_a_row_for_each_flag_with_its_default_and_help() -> None:
    assert tables.table(_Config) == _TABLE


def test_a_table_leaves_out_the_settings_of_another_dataclass() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(_Config):
        output: str = dataclasses.field(default="x", metadata=setting("Another output."))

    assert tables.table(Other, _Config) == "\n".join(
        [*_TABLE.splitlines()[:2], "| `--output` | `x` | Another output. |"]
    )


def test_a_table_stands_between_its_marks() -> None:
    page = "# A\n<!-- flags of A: scripts/flag_tables.py writes this table -->\n{}<!-- end of flags -->\nB\n"
    assert tables.renew(page.format("old\n"), {"A": "new"}) == page.format("new\n")
    assert tables.renew(page.format(""), {"A": "new"}) == page.format("new\n")
    with pytest.raises(ValueError, match="no line '<!-- flags of B:"):
        tables.renew(page, {"B": "new"})
