"""Ends a conversion: reconciles the counts, writes the metadata, and publishes the dataset.

It runs inside the job, on the results of all writers, so that no runner can start it before they are done. What it
finds wrong it does not raise, since a runner would try again: it leaves a failure where the command line looks for it.
"""

import dataclasses
import datetime
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Self

from converter.dataset.lists import damaged_csv, to_csv, unlisted_csv
from converter.duplicates import grouping
from converter.duplicates.grouping import Member
from converter.job import publishing
from converter.options import JPEG_QUALITY, ConvertOptions
from converter.rejects import Damaged, Reason, Reject
from converter.report import page as report_page
from converter.shards.provenance import Origin
from converter.shards.writing import ShardResult
from converter.system import storage
from schemas import derived, layout
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics

# In the folder of an incomplete dataset: why it will stay incomplete.
FAILURE = "failure.json"

# Written when all else is in its place.
_LAST = {layout.REPORT, layout.CONVERSION, layout.MANIFEST}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What all steps before the last one made, in one place.

    Attributes:
        results: of every shard.
        rejects: all of them, in the order of the CSV.
        num_rows: rows that were read from the CSV, counted there.
        unlisted: files in the folder of images that no row names, by name.
        duplicates: images that are the same as others, or nearly, by group and name.
    """

    results: tuple[ShardResult, ...]
    rejects: tuple[Reject, ...]
    num_rows: int
    unlisted: tuple[str, ...]
    duplicates: tuple[Member, ...]

    @classmethod
    def of(
        cls,
        *,
        results: Iterable[ShardResult],
        rejects: Iterable[Reject],
        num_rows: int,
        unlisted: Iterable[str] = (),
        duplicates: Iterable[Member] = (),
    ) -> Self:
        """Puts into order what runners give in any order; `rejects` are those of rows, from before images were read."""
        results = tuple(sorted(results, key=lambda result: (result.split, result.index)))
        return cls(
            results=results,
            rejects=tuple(sorted([*rejects, *(reject for result in results for reject in result.rejects)])),
            num_rows=num_rows,
            unlisted=tuple(sorted(unlisted)),
            duplicates=tuple(sorted(duplicates)),
        )

    @property
    def num_examples(self) -> int:
        """Examples in all shards."""
        return sum(result.origin.statistics.num_examples for result in self.results)

    @property
    def damaged(self) -> list[Damaged]:
        """Rows whose image is damaged and was kept."""
        return [one for result in self.results for one in result.damaged]

    @property
    def shards(self) -> dict[str, int]:
        """How many shards were written, and how many were there already."""
        reused = sum(result.reused for result in self.results)
        return {"written": len(self.results) - reused, "reused": reused}


def commit(options: ConvertOptions, classes: tuple[str, ...], outcome: Outcome, conversion: Mapping[str, Any]) -> None:
    """Makes a dataset of what the writers left in the incomplete folder, or leaves a failure there.

    Args:
        options: of the conversion.
        classes: in the order of the label vector.
        outcome: of the steps before.
        conversion: what is to be noted of this run, beside the data.
    """
    info = _info(options, classes, outcome)
    if _is_published(options, info):
        storage.delete(options.incomplete)
        return
    storage.write(f"{options.incomplete}/{layout.REJECTS}", to_csv(outcome.rejects))
    storage.write(f"{options.incomplete}/{layout.UNLISTED}", unlisted_csv(outcome.unlisted))
    failure = _failure(options, outcome)
    if failure:
        storage.write(f"{options.incomplete}/{FAILURE}", json.dumps({"message": failure}))
        return
    files: dict[str, str | bytes] = {**derived.files(info), layout.DUPLICATES: grouping.to_csv(outcome.duplicates)}
    if outcome.damaged:
        files[layout.DAMAGED] = damaged_csv(outcome.damaged)
    for name, content in files.items():
        storage.write(f"{options.incomplete}/{name}", content)
    _arrange(options, outcome)
    page, report_failure = report_page.attempt(options.incomplete, info, options.limits)
    storage.write(f"{options.incomplete}/{layout.REPORT}", page)
    notes = {**conversion, "finished": now(), "shards": outcome.shards, "report_failure": report_failure}
    text = json.dumps(notes, indent=1, ensure_ascii=False) + "\n"
    storage.write(f"{options.incomplete}/{layout.CONVERSION}", text)
    storage.write(f"{options.incomplete}/{layout.MANIFEST}", info.to_json())
    publishing.publish(
        options.incomplete, options.dataset, last=layout.MANIFEST, aside=layout.replaced_dir(options.dataset)
    )


def now() -> str:
    """Returns the time as it is noted."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _is_published(options: ConvertOptions, info: DatasetInfo) -> bool:
    """Whether this step has been done before: a runner that lost its answer does it again."""
    manifest = f"{options.dataset}/{layout.MANIFEST}"
    waiting = any(file.name.endswith(layout.SHARD_ENDING) for file in storage.list_files(options.incomplete))
    # With shards still waiting, a dataset that is to be overwritten is the old one, which may well be damaged.
    if not info.splits or (waiting and options.overwrite) or not storage.exists(manifest):
        return False
    return storage.read(manifest) == info.to_json().encode()


def read_failure(options: ConvertOptions) -> str | None:
    """Returns why the last conversion published nothing, if it did not."""
    path = f"{options.incomplete}/{FAILURE}"
    return str(json.loads(storage.read(path))["message"]) if storage.exists(path) else None


def num_reused(options: ConvertOptions) -> int:
    """Returns how many shards of a dataset the last conversion had not to write."""
    return int(_notes(options)["shards"]["reused"])


def report_failure(options: ConvertOptions) -> str:
    """Returns why the last conversion could not make its report; "" where it has one."""
    return str(_notes(options)["report_failure"])


def _notes(options: ConvertOptions) -> Any:
    return json.loads(storage.read(f"{options.dataset}/{layout.CONVERSION}"))


def _failure(options: ConvertOptions, outcome: Outcome) -> str | None:
    """Returns why nothing can be published, if so."""
    num_rows, rejects = outcome.num_rows, outcome.rejects
    if storage.exists(f"{options.dataset}/{layout.MANIFEST}") and not options.overwrite:
        return f"{options.dataset} has become a dataset in the meantime. Replace it by --overwrite."
    if num_rows != outcome.num_examples + len(rejects):
        return (
            f"{num_rows} rows were read, but {outcome.num_examples} were written and {len(rejects)} rejected. Nothing "
            "is published, since some would be missing or doubled. This is a defect of multihot or of the runner."
        )
    allowed = options.rejects_allowed(num_rows)
    if len(rejects) <= allowed and outcome.num_examples:
        return None
    if not outcome.num_examples and not rejects:
        return f"{options.csv} has only blank rows. Nothing is published."
    return _too_many_rejects(options, outcome, allowed)


def _too_many_rejects(options: ConvertOptions, outcome: Outcome, allowed: int) -> str:
    """Returns what is wrong with the rows, a line for each reason."""
    rejects = outcome.rejects
    limit = f"={float(options.max_rejects):g}" if isinstance(options.max_rejects, Fraction) else ""
    too_many = f"at most {allowed} may be (--max_rejects{limit})" if len(rejects) > allowed else "no image is left"
    lines = [
        f"{len(rejects)} of {outcome.num_rows} rows were rejected; {too_many}.",
        "Nothing is published. What is wrong, with the first row of each kind:",
    ]
    for reason, count in Counter(reject.reason.value for reject in rejects).most_common():
        first = next(reject for reject in rejects if reject.reason == reason)
        lines.append(f"  {count:>7} {reason}: {first.csv} line {first.line}, {first.filename!r}: {first.detail}")
        if reason == Reason.MISSING_FILE and outcome.unlisted:
            lines.append(
                f"          ({options.images} holds {len(outcome.unlisted)} files that no row names, "
                f"such as {outcome.unlisted[0]!r}: is it the right folder?)"
            )
    lines.append(f"All of them: {options.incomplete}/{layout.REJECTS}")
    return "\n".join(lines)


def _final(outcome: Outcome) -> Iterator[tuple[ShardResult, ShardInfo]]:
    """Yields the results that have a shard, and the shard under its final number: empty ones leave no gap."""
    for _, group in itertools.groupby(outcome.results, key=lambda result: result.split):
        written = [(result, result.shard) for result in group if result.shard]
        for i, (result, shard) in enumerate(written):
            yield result, dataclasses.replace(shard, path=layout.shard(result.split, i, len(written)))


def _info(options: ConvertOptions, classes: tuple[str, ...], outcome: Outcome) -> DatasetInfo:
    """Returns what the dataset says of itself."""
    final = list(_final(outcome))
    order = [name for name, _ in options.splits]
    # The splits that hold anything: in the order of the flag, or by name where a column tells them.
    names = {result.split for result, _ in final}
    splits = []
    for name in sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name)):
        mine = [(result.origin.statistics, shard) for result, shard in final if result.split == name]
        statistics = sum((statistics for statistics, _ in mine), Statistics(positives=(0,) * len(classes)))
        splits.append(SplitInfo(name=name, shards=tuple(shard for _, shard in mine), statistics=statistics))
    encoded_anew = outcome.damaged or any(split.statistics.oriented or split.statistics.resized for split in splits)
    return DatasetInfo(
        name=options.name,
        version=options.version,
        classes=classes,
        splits=tuple(splits),
        rejects=dict(sorted(Counter(reject.reason.value for reject in outcome.rejects).items())),
        unlisted=len(outcome.unlisted),
        leaks=grouping.leaks(outcome.duplicates)._asdict(),
        resize_shorter=options.resize_shorter,
        jpeg_quality=JPEG_QUALITY if encoded_anew else 0,
        damaged=len(outcome.damaged),
    )


def _arrange(options: ConvertOptions, outcome: Outcome) -> None:
    """Gives the shards their final names, and leaves in the incomplete folder the files of the dataset only.

    Raises:
        OSError: a file that was written is not there any more, or has another size.
    """
    sizes = {}
    there = {file.name for file in storage.list_files(options.incomplete)}
    for result, shard in _final(outcome):
        if shard.path != result.planned:
            for old, new in zip(layout.shard_files(result.planned), layout.shard_files(shard.path), strict=True):
                if old in there:  # Or it was moved before this step was interrupted, and is done again.
                    storage.move(f"{options.incomplete}/{old}", f"{options.incomplete}/{new}")
            # What is noted there has the fingerprints, which the results have not. Damaged, it is as good as none.
            if noted := Origin.read(options.incomplete, result.planned):
                dataclasses.replace(noted, shard=shard).write(options.incomplete, result.planned)
        sizes[shard.path] = shard.file_bytes
    files = layout.files(sizes) - _LAST
    files |= {layout.shard_origin(result.planned) for result in outcome.results}
    files |= {layout.DAMAGED} if outcome.damaged else set()
    found = {file.name: file.size for file in storage.list_files(options.incomplete)}
    lost = {name for name in files if found.get(name) != sizes.get(name, found.get(name, -1))}
    if lost:
        raise OSError(f"{options.incomplete}: written, and not there any more: {', '.join(sorted(lost))}")
    storage.keep_only(options.incomplete, files)
