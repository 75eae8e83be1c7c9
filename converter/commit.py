"""The last step of a conversion: reconcile the counts, write the metadata, publish.

It runs inside the job, on the results of all writers, so that no runner can start it before they are done. What it
finds wrong it does not raise, since a runner would try again: it leaves a failure where the command line looks for it.
"""

import dataclasses
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Self

from converter import storage
from converter.options import ConvertOptions
from converter.rejects import Reason, Reject, to_csv
from converter.shards import ShardResult
from converter.table import Table
from schemas import layout, tfds, tfx
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics

# In the folder of an incomplete dataset: why it will stay incomplete.
FAILURE = "failure.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What all steps before the last one made, in one place.

    Attributes:
        results: of every shard.
        rejects: all of them, in the order of the CSV.
        num_rows: rows that were read from the CSV, counted there.
        num_unlisted: files in the folder of images that no row names.
        first_unlisted: the first of them.
    """

    results: tuple[ShardResult, ...]
    rejects: tuple[Reject, ...]
    num_rows: int
    num_unlisted: int
    first_unlisted: str

    @classmethod
    def of(
        cls,
        *,
        results: Iterable[ShardResult],
        rejects: Iterable[Reject],
        num_rows: int,
        num_unlisted: int = 0,
        first_unlisted: str = "",
    ) -> Self:
        """Puts into order what runners give in any order; `rejects` are those of rows, from before images were read."""
        results = tuple(sorted(results, key=lambda result: (result.split, result.index)))
        return cls(
            results=results,
            rejects=tuple(sorted([*rejects, *(reject for result in results for reject in result.rejects)])),
            num_rows=num_rows,
            num_unlisted=num_unlisted,
            first_unlisted=first_unlisted,
        )

    @property
    def num_examples(self) -> int:
        """Examples that were written."""
        return sum(result.statistics.num_examples for result in self.results)


def commit(options: ConvertOptions, table: Table, outcome: Outcome, conversion: Mapping[str, Any]) -> None:
    """Makes a dataset of what the writers left in the incomplete folder, or leaves a failure there.

    Args:
        options: of the conversion.
        table: of the CSV.
        outcome: of the steps before.
        conversion: what is to be noted of this run, beside the data.
    """
    if _is_published(options, outcome):
        storage.delete(options.incomplete)
        return
    results, rejects = outcome.results, outcome.rejects
    storage.write(f"{options.incomplete}/{layout.REJECTS}", to_csv(rejects))
    failure = _failure(options, outcome)
    if failure:
        for result in results:
            storage.delete(f"{options.incomplete}/{result.split}")
        storage.delete(f"{options.incomplete}/{layout.INDEX}")
        storage.write(f"{options.incomplete}/{FAILURE}", json.dumps({"message": failure}))
        return
    names = _split_names(options, results)
    for result in results:
        if result.split not in names:  # Every image of it was rejected: what is left is an empty folder.
            storage.delete(f"{options.incomplete}/{result.split}")
    info = DatasetInfo(
        name=options.name,
        version=options.version,
        classes=table.classes,
        splits=tuple(_finish_split(options, table, name, results) for name in names),
        rejects=dict(sorted(Counter(reject.reason.value for reject in rejects).items())),
        unlisted=outcome.num_unlisted,
    )
    files: dict[str, str | bytes] = {
        **tfds.files(info),
        layout.TFX_SCHEMA: tfx.schema(info),
        layout.TFX_STATISTICS: tfx.statistics(info),
        layout.CONVERSION: json.dumps(conversion, indent=1, ensure_ascii=False) + "\n",
        layout.MANIFEST: info.to_json(),
    }
    for name, content in files.items():
        storage.write(f"{options.incomplete}/{name}", content)
    written = {path for split in info.splits for shard in split.shards for path in _files(shard)}
    lost = written - {file.name for file in storage.list_files(options.incomplete)}
    if lost:
        raise OSError(f"{options.incomplete}: written, and not there any more: {', '.join(sorted(lost))}")
    storage.publish(
        options.incomplete, options.dataset, last=layout.MANIFEST, aside=layout.replaced_dir(options.dataset)
    )


def _is_published(options: ConvertOptions, outcome: Outcome) -> bool:
    """Whether this step has been done before: a runner that lost its answer does it again."""
    manifest = f"{options.dataset}/{layout.MANIFEST}"
    digests = {result.shard.sha256 for result in outcome.results if result.shard}
    waiting = any(file.name.endswith(layout.SHARD_ENDING) for file in storage.list_files(options.incomplete))
    # With shards still waiting, a dataset that is to be overwritten is the old one, and its manifest may be damaged.
    if not digests or (waiting and options.overwrite) or not storage.exists(manifest):
        return False
    info = DatasetInfo.from_json(storage.read(manifest).decode())
    return digests == {shard.sha256 for split in info.splits for shard in split.shards}


def read_failure(options: ConvertOptions) -> str | None:
    """Returns why the last conversion published nothing, if it did not."""
    path = f"{options.incomplete}/{FAILURE}"
    return str(json.loads(storage.read(path))["message"]) if storage.exists(path) else None


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
    limit = f"={float(options.max_rejects):g}" if isinstance(options.max_rejects, Fraction) else ""
    lines = [
        f"{len(rejects)} of {num_rows} rows were rejected; at most {allowed} may be (--max_rejects{limit}).",
        "Nothing is published. What is wrong, with the first row of each kind:",
    ]
    for reason, count in Counter(reject.reason.value for reject in rejects).most_common():
        first = next(reject for reject in rejects if reject.reason == reason)
        lines.append(f"  {count:>7} {reason}: line {first.line}, {first.filename!r}: {first.detail}")
        if reason == Reason.MISSING_FILE and outcome.num_unlisted:
            lines.append(
                f"          ({options.images} holds {outcome.num_unlisted} files that no row names, "
                f"such as {outcome.first_unlisted!r}: is it the right folder?)"
            )
    lines.append(f"All of them: {options.incomplete}/{layout.REJECTS}")
    return "\n".join(lines)


def _split_names(options: ConvertOptions, results: Iterable[ShardResult]) -> list[str]:
    """Returns the splits that hold anything: in the order of the flag, or by name where a column tells them."""
    order = [name for name, _ in options.splits]
    names = {result.split for result in results if result.shard}
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _files(shard: ShardInfo) -> tuple[str, str]:
    """Returns the paths in the dataset of a shard and of its index."""
    return shard.path, layout.shard_index(shard.path)


def _finish_split(options: ConvertOptions, table: Table, name: str, results: Iterable[ShardResult]) -> SplitInfo:
    """Gives the shards of a split their final numbers: shards that came out empty leave no gap."""
    mine = [result for result in results if result.split == name]
    written = [result.shard for result in mine if result.shard]
    shards = []
    for i, shard in enumerate(written):
        path = layout.shard(name, i, len(written))
        renamed = dataclasses.replace(shard, path=path)
        for old, new in zip(_files(shard), _files(renamed), strict=True):
            storage.move(posixpath.join(options.incomplete, old), posixpath.join(options.incomplete, new))
        shards.append(renamed)
    statistics = sum((result.statistics for result in mine), Statistics(positives=(0,) * len(table.classes)))
    return SplitInfo(name=name, shards=tuple(shards), statistics=statistics)
