"""Defines the command line of the converter: flags become ConvertOptions, and a conversion starts."""

import gc
import logging
import sys
from collections.abc import Sequence

from absl import flags

from multihot import command, machine
from multihot.errors import UserError
from multihot.flags import check_required, define, parse, read
from multihot.quiet import quiet
from multihot.usage import Usage

with quiet():  # Beam tells of packages for Google Cloud that are not there.
    from converter.dataset import summary
    from converter.job import commit, pipeline, runners
    from converter.options import ConvertOptions

FLAGS = flags.FLAGS

_USAGE = Usage(
    "converter",
    "--csv=FILE --images=FOLDER --output=FOLDER [flags]",
    "--csv=labels.csv --images=images --output=data --name=miml",
)

define(ConvertOptions)


def main(argv: Sequence[str]) -> None:
    """Converts, and prints the summary."""
    # Imported modules stay in memory, so the garbage collector need not visit all of Beam's objects again and again.
    gc.freeze()
    gc.set_threshold(100_000)
    try:
        beam_options = runners.parse(argv[1:], known_flags=FLAGS)
    except UserError as error:
        raise _USAGE.error(str(error)) from error
    # A runner in this process also raises the errors that it logs. The page of a remote job shows its log.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if runners.runs_here(beam_options) else logging.INFO)
    given = read(ConvertOptions)
    check_required(ConvertOptions, given, _USAGE)
    options = ConvertOptions(**given)
    info = pipeline.convert(options, beam_options, max_processes=min(options.threads, machine.usable_cores()))
    if info is None:
        print("The job was built or submitted, as asked: there is no dataset yet.")
    else:
        print(
            summary.summary(
                info,
                options.dataset,
                splits=options.splits,
                num_reused=commit.num_reused(options),
                report_failure=commit.report_failure(options),
            )
        )


def run() -> None:
    """Entry point."""
    for flag in FLAGS.get_key_flags_for_module(__name__):
        # --help lists the flags of the main module: the module or script that calls this function.
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    command.run(main, parse=lambda argv: parse(argv, _USAGE, known_only=True))
