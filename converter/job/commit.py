"""Ends a conversion: reconciles the counts, writes the metadata, and publishes the dataset.

It runs inside the job, on the results of all writers, so that no runner can start it before they are done. It does not
raise an error for a fault that it finds, since a runner would retry the step: it writes the failure to a file, which
the command line reads.
"""

import contextlib
import datetime
import json
import uuid
from collections.abc import Mapping
from typing import Any

from converter.dataset import lists
from converter.dataset.lists import Table
from converter.duplicates import grouping
from converter.job import claims, gathering, publishing, refusals, results
from converter.job.results import ConversionResult
from converter.options import ConvertOptions
from converter.rejects import Damaged, Reject
from converter.report import page as report_page
from multihot import storage
from multihot.errors import UserError
from schemas import derived, layout
from schemas.duplicates import DUPLICATES_COLUMNS
from schemas.metadata import DatasetInfo

# This file, in the folder of an incomplete dataset, holds the reason why the dataset was not published.
FAILURE = "failure.json"
# This one, in a store, has the id of the run that has published the dataset: what is left beside it is to be deleted.
_PUBLISHED = "published"

_Content = str | bytes | Table


def commit(
    options: ConvertOptions,
    classes: tuple[str, ...],
    conversion_result: ConversionResult,
    conversion: Mapping[str, Any],
    run: str = "",
) -> None:
    """Publishes the shards in the incomplete folder as a dataset, or writes the reason why not into that folder.

    It may be called again after it has failed at any point, and when it has succeeded.

    Args:
        options: of the conversion.
        classes: in the order of the label vector.
        conversion_result: the results of the steps before.
        conversion: facts about this run for conversion.json.
        run: id of the run, which must not have lost its claim of the folder; "" for a run of a template.

    Raises:
        UserError: another run has claimed the folder, or published a dataset.
        OSError: a file that was written is missing, or has other contents.
    """
    info = results.info(options, classes, conversion_result)
    incomplete = options.incomplete
    # A template may run several times, at once too: its runs have no id of their own.
    attempt = run or uuid.uuid4().hex
    place = None if storage.is_local(incomplete) else publishing.Place(options.dataset, layout.MANIFEST, attempt)
    try:
        with claims.alone(incomplete, run):
            if _is_published(options, info, place, run) or _publish(
                options, info, conversion_result, conversion, place, run
            ):
                _clear(incomplete)
    except (UserError, OSError):
        # Another attempt at this step may have ended meanwhile.
        if place or not _is_published(options, info, place, run):
            raise


def _publish(
    options: ConvertOptions,
    info: DatasetInfo,
    conversion_result: ConversionResult,
    conversion: Mapping[str, Any],
    place: publishing.Place | None,
    run: str,
) -> bool:
    """Publishes the dataset, or writes the reason why not. Returns whether it is published."""
    incomplete, manifest = options.incomplete, info.to_json().encode()
    first: dict[str, _Content] = {
        layout.REJECTS: Table(Reject._fields, conversion_result.rejects),
        layout.UNLISTED: lists.unlisted(conversion_result.unlisted),
    }
    _write(incomplete, first)
    is_there = place.manifest is not None if place else storage.exists(f"{options.dataset}/{layout.MANIFEST}")
    failure = refusals.reason(options, conversion_result, is_there)
    if failure:
        fail(options, failure, run)
        return False
    files: dict[str, _Content] = {
        **derived.files(info),
        layout.DUPLICATES: Table(DUPLICATES_COLUMNS, grouping.rows(conversion_result.duplicates)),
    }
    if conversion_result.damaged:
        files[layout.DAMAGED] = Table(Damaged._fields, conversion_result.damaged)
    shards = gathering.Shards(incomplete, results.final(conversion_result), conversion_result.results)
    folder = options.dataset if place else layout.assembled_dir(incomplete)
    shards.check(folder)
    shards.renumber()
    _write(incomplete, files)
    if place:
        place.begin()
    shards.gather(folder)
    publishing.copy(incomplete, folder, {*first, *files})
    # The page shows what is in these files and shards.
    page, report_failure = report_page.attempt(folder, info, options.limits)
    notes = {**conversion, "finished": now(), "shards": conversion_result.shards, "report_failure": report_failure}
    if run:
        notes["run"] = run
    last: dict[str, _Content] = {
        layout.REPORT: page,
        layout.CONVERSION: json.dumps(notes, indent=1, ensure_ascii=False) + "\n",
    }
    _write(incomplete, last)
    publishing.copy(incomplete, folder, last)
    names = {*shards.paths, *first, *files, *last}
    if place:
        place.keep_only(names)
        place.finish(manifest)
        storage.write(f"{incomplete}/{_PUBLISHED}", run)
    else:
        storage.write(f"{folder}/{layout.MANIFEST}", manifest)
        storage.keep_only(folder, {*names, layout.MANIFEST})
        gathering.check_complete(folder, {*names, layout.MANIFEST})
        backup = layout.replaced_dir(options.dataset)
        publishing.publish(folder, options.dataset, commit_marker=layout.MANIFEST, backup=backup)
    return True


def _write(folder: str, files: Mapping[str, _Content]) -> None:
    def write(name: str, content: _Content) -> None:
        if isinstance(content, Table):
            lists.write(f"{folder}/{name}", content)
        else:
            storage.write(f"{folder}/{name}", content)

    with storage.in_parallel(folder) as threads:
        list(threads.map(write, files, files.values()))


def fail(options: ConvertOptions, reason: str, run: str = "") -> None:
    """Writes into the incomplete folder why no dataset is published.

    Args:
        options: of the conversion.
        reason: the sentence.
        run: id of the run, as for `commit`.

    Raises:
        UserError: another run has claimed the folder.
        OSError: the file cannot be written.
    """
    claims.check(options.incomplete, run)
    storage.write(f"{options.incomplete}/{FAILURE}", json.dumps({"message": reason}))


def now() -> str:
    """Returns the current time in the form that conversion.json has."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _clear(incomplete: str) -> None:
    """Deletes what a published dataset has left. The claim goes last: until then, nobody else writes here."""
    if not storage.is_local(incomplete):
        storage.keep_only(incomplete, [_PUBLISHED, claims.FILE])
        storage.delete(incomplete)
        return
    with contextlib.suppress(OSError):  # A late attempt to write a shard has just made a file.
        storage.keep_only(incomplete, [claims.FILE])
        storage.delete(incomplete)


def _is_published(options: ConvertOptions, info: DatasetInfo, place: publishing.Place | None, run: str) -> bool:
    """Whether an earlier attempt at this step succeeded: a runner that lost its result repeats the step."""
    if place and run and storage.read_if_there(f"{options.incomplete}/{_PUBLISHED}") == run.encode():
        return True
    if run and not place and _run_of(options) == run:
        return True
    path = f"{options.dataset}/{layout.MANIFEST}"
    manifest = place.manifest if place else storage.read_if_there(path)
    if not info.splits or manifest != info.to_json().encode():
        return False
    # While shards are still in the incomplete folder, an existing dataset is the one to be overwritten: it may be
    # damaged, although its manifest is the same.
    waiting = any(file.name.endswith(layout.SHARD_ENDING) for file in storage.list_files(options.incomplete))
    return not (waiting and options.overwrite)


def _run_of(options: ConvertOptions) -> str:
    """Returns the id of the run that has published the dataset; "" if it is not known."""
    try:
        return str(_notes(options).get("run", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def read_failure(options: ConvertOptions) -> str | None:
    """Returns the reason why the last conversion published nothing; None if it published a dataset."""
    failure = storage.read_if_there(f"{options.incomplete}/{FAILURE}")
    return None if failure is None else str(json.loads(failure)["message"])


def num_reused(options: ConvertOptions) -> int:
    """Returns the number of shards that the last conversion reused."""
    return int(_notes(options)["shards"]["reused"])


def report_failure(options: ConvertOptions) -> str:
    """Returns the reason why the last conversion could not build its report; "" if it built one."""
    return str(_notes(options)["report_failure"])


def _notes(options: ConvertOptions) -> Any:
    return json.loads(storage.read(f"{options.dataset}/{layout.CONVERSION}"))
