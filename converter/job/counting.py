"""Says how far a conversion on other machines is: by the counters of its steps, or by its finished shards."""

import contextlib
import posixpath
import re

from apache_beam.runners.runner import PipelineResult

from converter.options import ConvertOptions
from multihot import storage
from multihot.beam import watching
from multihot.beam.watching import Progress
from schemas import layout

_SHARD = re.compile(r"(.+)-\d+-of-(\d+)")


def progress(result: PipelineResult, options: ConvertOptions) -> Progress | None:
    """Returns how far a conversion is; None if nothing is known.

    Args:
        result: of its job.
        options: of the conversion.

    Raises:
        OSError: the unfinished dataset cannot be listed.
    """
    # The engine may tell nothing, or not answer now.
    with contextlib.suppress(Exception):
        if found := watching.of_counters(result):
            return found
    return of_shards(options)


def of_shards(options: ConvertOptions) -> Progress | None:
    """Returns how many shards are finished; None if none is. A split of which none is finished is not known yet."""
    notes = f"{options.incomplete}/{layout.MADE_FROM}"
    found = {posixpath.basename(posixpath.dirname(file.path)) for file in storage.list_files(notes)}
    shards = [match for name in found if (match := _SHARD.fullmatch(name))]
    if not shards:
        return None
    return Progress("shards", len(shards), sum({match[1]: int(match[2]) for match in shards}.values()), None)
