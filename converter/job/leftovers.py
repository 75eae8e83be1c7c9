"""Describes the files that an unfinished conversion has left, and how to go on."""

import posixpath
import shlex

from converter.options import ConvertOptions
from multihot import signals, storage, usage
from multihot.beam.remote import Job
from schemas import layout

# Commands that delete all objects below a prefix. For other stores, the message names no command.
_DELETE = {"gs": "gcloud storage rm --recursive", "s3": "aws s3 rm --recursive"}


def describe(options: ConvertOptions, job: Job | None = None) -> str:
    """Returns a description of the incomplete folder as it is now; "" if there is none.

    Args:
        options: of the conversion.
        job: the job, if it is outside of this process.
    """
    names = [file.name for file in storage.list_files(options.incomplete)]
    lines = []
    if job and job.left:
        lines.append(job.left)
    if names or storage.exists(options.incomplete):
        # A shard may have been written in several attempts.
        finished = len({posixpath.dirname(name) for name in names if name.startswith(f"{layout.MADE_FROM}/")})
        kept = f"{finished} finished {'shard is' if finished == 1 else 'shards are'} kept in {options.incomplete}"
        # After an error, another command may be needed.
        same = signals.received() and usage.command_line("converter")
        if same and finished:
            lines += [f"{kept}. This command continues with the others:", same]
        elif same:
            lines += [f"No shard was finished. This command starts again, in {options.incomplete}:", same]
        elif finished:
            lines.append(f"{kept}: the same command continues with the others.")
        else:
            lines.append(f"No shard was finished. The same command starts again, in {options.incomplete}.")
        lines.append(f"To clear it: {_delete(options.incomplete)}")
    return "\n".join(lines)


def _delete(folder: str) -> str:
    if storage.is_local(folder):
        return f"rm -r {shlex.quote(folder)}"
    command = _DELETE.get(folder.partition("://")[0])
    return f"{command} {shlex.quote(folder)}" if command else f"delete all objects below {folder}/"
