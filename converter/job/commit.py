"""Ends a conversion: reconciles the counts, writes the metadata, and publishes the dataset.

It runs inside the job, on the results of all writers, so that no runner can start it before they are done. It does not
raise an error for a fault that it finds, since a runner would retry the step: it writes the failure to a file, which
the command line reads.
"""

import contextlib
import dataclasses
import datetime
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Self

from converter.dataset.lists import damaged_csv, to_csv, unlisted_csv
from converter.duplicates import grouping
from converter.duplicates.grouping import Member
from converter.job import claims, gathering, publishing
from converter.options import JPEG_QUALITY, ConvertOptions
from converter.rejects import Damaged, Reason, Reject
from converter.report import page as report_page
from converter.shards import matching
from converter.shards.writing import ShardResult
from converter.table import suggestions
from multihot import storage
from multihot.errors import UserError
from schemas import derived, layout
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics

# This file, in the folder of an incomplete dataset, holds the reason why the dataset was not published.
FAILURE = "failure.json"
# This one, in a store, has the id of the run that has published the dataset: what is left beside it is to be deleted.
_PUBLISHED = "published"

# Up to so many files, and up to this share of them, may have rows of different labels by mistake. If more do, the rows
# are parts of the labels of an image: without these files, images with one label alone would be left.
_FEW, _FEW_OF = 2, Fraction(1, 100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """The results of all steps before the commit.

    Attributes:
        results: the result of every shard, by split and index.
        rejects: all rejected rows, in the order of the CSV.
        num_rows: number of rows in the CSV, counted by the step that reads them.
        unlisted: names of the files in the folder of images that no row names, sorted.
        duplicates: images that are the same as others or nearly the same, sorted by group and name.
        num_merged: number of rows that have been merged with others.
        num_augmented: number of images that have augmented versions in several splits.
    """

    results: tuple[ShardResult, ...]
    rejects: tuple[Reject, ...]
    num_rows: int
    unlisted: tuple[str, ...]
    duplicates: tuple[Member, ...]
    num_merged: int = 0
    num_augmented: int = 0

    @classmethod
    def of(
        cls,
        *,
        results: Iterable[ShardResult],
        rejects: Iterable[Reject],
        num_rows: int,
        unlisted: Iterable[str] = (),
        duplicates: Iterable[Member] = (),
        num_merged: int = 0,
        num_augmented: int = 0,
    ) -> Self:
        """Sorts results, which runners deliver in any order; `rejects` are rows rejected before images were read."""
        results = tuple(sorted(results, key=lambda result: (result.split, result.index)))
        return cls(
            results=results,
            rejects=tuple(sorted([*rejects, *(reject for result in results for reject in result.rejects)])),
            num_rows=num_rows,
            unlisted=tuple(sorted(unlisted)),
            duplicates=tuple(sorted(duplicates)),
            num_merged=num_merged,
            num_augmented=num_augmented,
        )

    @property
    def num_examples(self) -> int:
        """The number of examples in all shards."""
        return sum(result.provenance.statistics.num_examples for result in self.results)

    @property
    def damaged(self) -> list[Damaged]:
        """The rows whose image is damaged and was kept."""
        return [one for result in self.results for one in result.damaged]

    @property
    def differ_in_labels(self) -> set[str]:
        """The names of the files whose rows differ in their labels alone."""
        return {reject.filename for reject in self.rejects if matching.differs_in_labels_alone(reject)}

    @property
    def has_row_for_each_label(self) -> bool:
        """Whether the table seems to have a row for each label: more than a few files have rows of different labels."""
        number = len(self.differ_in_labels)
        return number > _FEW and number > _FEW_OF * (self.num_examples + number)

    @property
    def shards(self) -> dict[str, int]:
        """The number of shards that were written, and of those that were reused from an earlier run."""
        reused = sum(result.reused for result in self.results)
        return {"written": len(self.results) - reused, "reused": reused}


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
    info = _info(options, classes, conversion_result)
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
    lists: dict[str, str | bytes] = {
        layout.REJECTS: to_csv(conversion_result.rejects),
        layout.UNLISTED: unlisted_csv(conversion_result.unlisted),
    }
    _write(incomplete, lists)
    failure = _failure(options, conversion_result, place)
    if failure:
        fail(options, failure, run)
        return False
    files: dict[str, str | bytes] = {
        **derived.files(info),
        layout.DUPLICATES: grouping.to_csv(conversion_result.duplicates),
    }
    if conversion_result.damaged:
        files[layout.DAMAGED] = damaged_csv(conversion_result.damaged)
    shards = gathering.Shards(incomplete, _final(conversion_result), conversion_result.results)
    folder = options.dataset if place else layout.assembled_dir(incomplete)
    shards.check(folder)
    shards.renumber()
    _write(incomplete, files)
    if place:
        place.begin()
    shards.gather(folder)
    publishing.copy(incomplete, folder, {*lists, *files})
    # The page shows what is in these files and shards.
    page, report_failure = report_page.attempt(folder, info, options.limits)
    notes = {**conversion, "finished": now(), "shards": conversion_result.shards, "report_failure": report_failure}
    if run:
        notes["run"] = run
    last = {layout.REPORT: page, layout.CONVERSION: json.dumps(notes, indent=1, ensure_ascii=False) + "\n"}
    _write(incomplete, last)
    publishing.copy(incomplete, folder, last)
    names = {*shards.paths, *lists, *files, *last}
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


def _write(folder: str, files: Mapping[str, str | bytes]) -> None:
    with storage.in_parallel(folder) as threads:
        list(threads.map(lambda name: storage.write(f"{folder}/{name}", files[name]), files))


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
    if place and run and _read(f"{options.incomplete}/{_PUBLISHED}") == run.encode():
        return True
    if run and not place and _run_of(options) == run:
        return True
    path = f"{options.dataset}/{layout.MANIFEST}"
    manifest = place.manifest if place else _read(path)
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


def _read(path: str) -> bytes | None:
    try:
        return storage.read(path)
    except FileNotFoundError:
        return None


def read_failure(options: ConvertOptions) -> str | None:
    """Returns the reason why the last conversion published nothing; None if it published a dataset."""
    path = f"{options.incomplete}/{FAILURE}"
    return str(json.loads(storage.read(path))["message"]) if storage.exists(path) else None


def num_reused(options: ConvertOptions) -> int:
    """Returns the number of shards that the last conversion reused."""
    return int(_notes(options)["shards"]["reused"])


def report_failure(options: ConvertOptions) -> str:
    """Returns the reason why the last conversion could not build its report; "" if it built one."""
    return str(_notes(options)["report_failure"])


def _notes(options: ConvertOptions) -> Any:
    return json.loads(storage.read(f"{options.dataset}/{layout.CONVERSION}"))


def _failure(
    options: ConvertOptions, conversion_result: ConversionResult, place: publishing.Place | None
) -> str | None:
    """Returns the reason why the dataset cannot be published; None if it can."""
    num_rows, rejects = conversion_result.num_rows, conversion_result.rejects
    is_there = place.manifest is not None if place else storage.exists(f"{options.dataset}/{layout.MANIFEST}")
    if is_there and not options.overwrite:
        return f"{options.dataset} has become a dataset in the meantime. Replace it by --overwrite."
    if num_rows != conversion_result.num_examples + len(rejects) + conversion_result.num_merged:
        merged = f", {conversion_result.num_merged} merged" if conversion_result.num_merged else ""
        return (
            f"{num_rows} rows were read, but {conversion_result.num_examples} were written{merged} and {len(rejects)} "
            "rejected. Nothing is published, since some would be missing or doubled. This is a defect of multihot or "
            "of the runner."
        )
    allowed = options.rejects_allowed(num_rows)
    if len(rejects) <= allowed and conversion_result.num_examples and not conversion_result.has_row_for_each_label:
        return None
    if not conversion_result.num_examples and not rejects:
        return f"{options.csv} has only blank rows. Nothing is published."
    return _too_many_rejects(options, conversion_result, allowed)


def _too_many_rejects(options: ConvertOptions, conversion_result: ConversionResult, allowed: int) -> str:
    """Returns the message for too many rejects, with a line for each reason."""
    rejects = conversion_result.rejects
    limit = f"={float(options.max_rejects):g}" if isinstance(options.max_rejects, Fraction) else ""
    too_many = f"at most {allowed} may be (--max_rejects{limit})" if len(rejects) > allowed else "no image is left"
    if len(rejects) <= allowed and conversion_result.num_examples:
        too_many = "images with several labels would be missing among the others"
    hint = _hint(options, conversion_result)
    lines = [
        f"{len(rejects)} of {conversion_result.num_rows} rows were rejected; {too_many}.",
        "Nothing is published. What is wrong, with the first row of each kind:",
    ]
    for reason, count in Counter(reject.reason.value for reject in rejects).most_common():
        first = next(reject for reject in rejects if reject.reason == reason)
        lines.append(f"  {count:>7} {reason}: {first.csv} line {first.line}, {first.filename!r}: {first.detail}")
        if suggestions.may_help(Reason(reason)) and hint:
            lines.append(f"          ({hint})")
            hint = ""
        if reason == Reason.DUPLICATE_NAME:
            lines.append("          (--merge_rows makes one image of rows that name the same file)")
        if reason == Reason.CONFLICTING_ROWS and conversion_result.has_row_for_each_label:
            lines.append(
                f"          (the rows of {len(conversion_result.differ_in_labels)} files differ in labels alone, as in "
                "a table with a row for each label: --merge_rows makes one image of the rows of a file, with all "
                "labels)"
            )
    lines.append(f"All of them: {options.incomplete}/{layout.REJECTS}")
    return "\n".join(lines)


def _hint(options: ConvertOptions, conversion_result: ConversionResult) -> str:
    """Returns a sentence about names in the table that are no names of files; "" if there is nothing to say."""
    rejects, unlisted = conversion_result.rejects, conversion_result.unlisted
    if not unlisted and all(reject.reason == Reason.MISSING_FILE for reject in rejects):
        return "" if conversion_result.num_examples else f"{options.images} holds no file: is it the right folder?"
    missing = [reject for reject in rejects if suggestions.may_help(reject.reason)]
    return suggestions.hint(options, missing, unlisted, conversion_result.num_examples)


def _final(conversion_result: ConversionResult) -> Iterator[tuple[ShardResult, ShardInfo]]:
    """Yields each result that has a shard, with the shard under its final number: empty shards leave no gap."""
    for _, group in itertools.groupby(conversion_result.results, key=lambda result: result.split):
        written = [(result, result.shard) for result in group if result.shard]
        for i, (result, shard) in enumerate(written):
            yield result, dataclasses.replace(shard, path=layout.shard(result.split, i, len(written)))


def _info(options: ConvertOptions, classes: tuple[str, ...], conversion_result: ConversionResult) -> DatasetInfo:
    """Returns the content of the manifest."""
    final = list(_final(conversion_result))
    order = options.split_order
    # Splits without images are left out. The order is the one of the flags, or by name if a column holds the names.
    names = {result.split for result, _ in final}
    splits = []
    for name in sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name)):
        mine = [(result.provenance.statistics, shard) for result, shard in final if result.split == name]
        statistics = sum((statistics for statistics, _ in mine), Statistics(positives=(0,) * len(classes)))
        splits.append(SplitInfo(name=name, shards=tuple(shard for _, shard in mine), statistics=statistics))
    encoded_anew = conversion_result.damaged or any(
        split.statistics.oriented or split.statistics.resized for split in splits
    )
    return DatasetInfo(
        name=options.name,
        version=options.version,
        classes=classes,
        splits=tuple(splits),
        rejects=dict(sorted(Counter(reject.reason.value for reject in conversion_result.rejects).items())),
        unlisted=len(conversion_result.unlisted),
        leaks=grouping.leaks(conversion_result.duplicates)._asdict(),
        resize_shorter=options.resize_shorter,
        jpeg_quality=JPEG_QUALITY if encoded_anew else 0,
        damaged=len(conversion_result.damaged),
        background=options.background if any(split.statistics.transparent for split in splits) else "",
        merged_rows=conversion_result.num_merged,
        augmented=conversion_result.num_augmented,
    )
