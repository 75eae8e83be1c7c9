"""Says how a table and a folder of images would be read, and prints the command that converts them.

Nothing is written, and no image is opened: `python -m converter.look labels.csv --images=images`.
"""

import dataclasses
import os
import posixpath
import re
import sys
from collections.abc import Sequence
from dataclasses import field

from converter import known_layouts
from converter.known_layouts import LayoutOptions
from converter.look import description, findings
from converter.options import ConvertOptions
from converter.text import argument
from multihot import command, flags, storage
from multihot.errors import UserError
from multihot.printable import printable
from multihot.settings import setting
from multihot.usage import Usage, program
from schemas import layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class LookOptions(ConvertOptions):
    """The settings of a conversion to look at: all those of ConvertOptions, of which the output need not be given."""

    csv: str = field(metadata=setting("The table, as in --csv of a conversion.", value="CSV", positional=True))
    output: str = field(
        default="data", metadata=setting("Root of the datasets, for the command that is printed.", value="FOLDER")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _CsvFlag:
    """The table as a flag, so that the flags of a conversion need not be changed, nor a file of them."""

    csv_flag: str = field(
        default="", metadata=setting("The table, in place of the argument.", flag="csv", value="FILE", text="")
    )


USAGE = Usage(
    module="converter.look",
    description=(
        "Says how a table and a folder of images would be read, and prints the command that converts them. Nothing is "
        "written, and no image is opened. All flags of a conversion may be given. Exit status: 0 if the table and the "
        "names of files allow a conversion, 1 otherwise."
    ),
    example="labels.csv --images=images",
    settings=(LookOptions, LayoutOptions, _CsvFlag),
)


def main(parsed: tuple[LookOptions, Sequence[str]]) -> int:
    """Prints what was found; returns the status: 0 if the rows can be converted, 1 if too many would be rejected.

    Args:
        parsed: the options, and the flags as they were typed.

    Raises:
        UserError: the table or the folder cannot be read. Before, what can be read of the first rows is printed.
    """
    options, given = parsed
    for path in filter(None, (*(path for _, path in options.csv_files), options.images, options.schema)):
        storage.check(path)
    try:
        found = findings.find(options)
    except UserError:
        glimpse = findings.glimpse(options)
        if glimpse:
            _print(description.of_glimpse(glimpse))
        sys.stdout.flush()  # The error comes next, on another stream.
        raise
    _print(description.of_findings(options, found))
    would_publish = found.num_rejects <= options.rejects_allowed(found.num_rows) and found.num_images > 0
    if would_publish:
        _print(["If this is right, convert:"])
    else:
        allowed = options.rejects_allowed(found.num_rows)
        _print([f"A conversion would publish nothing: {description.too_many(found, allowed)}. Once this is mended:"])
    _print([f"  {_command(options, given)}"])
    return 0 if would_publish else 1


def _print(lines: Sequence[str]) -> None:
    # Each line is escaped, since it may have cells of a table in it.
    print("\n".join(map(printable, lines)))


def _command(options: LookOptions, given: Sequence[str]) -> str:
    """Returns the command that converts with the flags that were given, for a shell."""
    converter = "multihot convert" if program(USAGE.module).startswith("multihot") else "python -m converter"
    parts = [f"--csv={options.csv}", *given]
    for name, value in (("output", options.output), ("name", _name(options))):
        if not any(re.match(rf"--?{name}(=|$)", each) for each in given):
            parts.append(f"--{name}={value}")
    return " ".join([converter, *map(argument, parts)])


def _name(options: LookOptions) -> str:
    """Returns a name for the dataset: that of the folder with the table, unless another one is in a file of flags."""
    if options.name != ConvertOptions.name:
        return options.name
    _, path = options.csv_files[0]
    folder = posixpath.dirname(os.path.abspath(path) if storage.is_local(path) else path)
    name = re.sub(r"\W+", "_", posixpath.basename(folder), flags=re.ASCII).strip("_").lower()
    return name if layout.is_name(name) else options.name


def _parse(argv: list[str]) -> tuple[LookOptions, list[str]]:
    given = known_layouts.read(USAGE, argv)
    given["csv"] = given["csv"] or given["csv_flag"]
    options = flags.make(USAGE, LookOptions, given)
    return options, [each for each in argv[1:] if each not in (options.csv, f"--csv={options.csv}", "--csv")]


def run() -> None:
    """Entry point."""
    command.run(main, parse=_parse)
