"""Defines the command line of the converter: flags become ConvertOptions, and a conversion starts."""

import gc
from typing import Any

from multihot import command, flags, machine
from multihot.errors import UserError
from multihot.quiet import quiet
from multihot.usage import Usage

with quiet():  # Beam tells of packages for Google Cloud that are not there.
    from converter import known_layouts
    from converter.dataset import summary
    from converter.job import commit, pipeline
    from converter.known_layouts import LayoutOptions
    from converter.options import ConvertOptions
    from multihot.beam import logs, runners

_USAGE = Usage(
    module="converter",
    description="Turns a CSV and a folder of images into a dataset. The flags of Apache Beam work too: --runner, ...",
    example="--csv=labels.csv --images=images --output=data --name=miml",
    settings=(ConvertOptions, LayoutOptions),
    status=1,
)


def main(parsed: tuple[ConvertOptions, Any]) -> None:
    """Converts, and prints the summary.

    Args:
        parsed: the options of the conversion, and those of Beam.
    """
    # Imported modules stay in memory, so the garbage collector need not visit all of Beam's objects again and again.
    gc.freeze()
    gc.set_threshold(100_000)
    options, beam_options = parsed
    logs.set_up(is_quiet=runners.runs_here(beam_options) or runners.is_portable(beam_options))
    info = pipeline.convert(options, beam_options, max_processes=min(options.threads, machine.usable_cores()))
    if info is None:
        print("The job was built or submitted, as asked: there is no dataset yet.")
    else:
        print(
            summary.summary(
                info,
                options.dataset,
                splits=options.splits,
                split_method=options.split_method,
                num_reused=commit.num_reused(options),
                report_failure=commit.report_failure(options),
            )
        )


def _parse(argv: list[str]) -> tuple[ConvertOptions, Any]:
    others: list[str] = []
    given = known_layouts.read(_USAGE, argv, others)
    try:
        beam_options = runners.parse(others, _USAGE)
    except UserError as error:
        raise _USAGE.error(str(error)) from error
    return flags.make(_USAGE, ConvertOptions, given), beam_options


def run() -> None:
    """Entry point."""
    command.run(main, parse=_parse)
