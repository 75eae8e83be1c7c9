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
from typing import Any

from converter import storage
from converter.options import ConvertOptions
from converter.rejects import Reject, to_csv
from converter.shards import ShardResult
from converter.table import Table
from schemas import layout, tfds, tfx
from schemas.metadata import DatasetInfo, SplitInfo
from schemas.statistics import Statistics

# In the folder of an incomplete dataset: why it will stay incomplete.
FAILURE = "failure.json"


def commit(
    options: ConvertOptions,
    table: Table,
    results: Iterable[ShardResult],
    rejects: Iterable[Reject],
    num_rows: int,
    conversion: Mapping[str, Any],
) -> None:
    """Makes a dataset of what the writers left in the incomplete folder, or leaves a failure there.

    Args:
        options: of the conversion.
        table: of the CSV.
        results: of every shard.
        rejects: of rows, before their images were read.
        num_rows: rows that were read from the CSV, counted there.
        conversion: what is to be noted of this run, beside the data.
    """
    results = sorted(results, key=lambda result: (result.split, result.index))
    rejects = sorted([*rejects, *(reject for result in results for reject in result.rejects)])
    storage.write(f"{options.incomplete}/{layout.REJECTS}", to_csv(rejects))
    num_examples = sum(result.statistics.num_examples for result in results)
    failure = _failure(options, num_rows, num_examples, rejects)
    if failure:
        for result in results:
            storage.delete(f"{options.incomplete}/{result.split}")
        storage.delete(f"{options.incomplete}/{layout.INDEX}")
        storage.write(f"{options.incomplete}/{FAILURE}", json.dumps({"message": failure}))
        return
    info = DatasetInfo(
        name=options.name,
        version=options.version,
        classes=table.classes,
        splits=tuple(_finish_split(options, table, name, results) for name in _split_names(options, results)),
        rejects=dict(sorted(Counter(reject.reason.value for reject in rejects).items())),
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
    storage.publish(
        options.incomplete, options.dataset, last=layout.MANIFEST, aside=layout.replaced_dir(options.dataset)
    )


def read_failure(options: ConvertOptions) -> str | None:
    """Returns why the last conversion published nothing, if it did not."""
    path = f"{options.incomplete}/{FAILURE}"
    return str(json.loads(storage.read(path))["message"]) if storage.exists(path) else None


def _failure(options: ConvertOptions, num_rows: int, num_examples: int, rejects: list[Reject]) -> str | None:
    """Returns why nothing can be published, if so."""
    if num_rows != num_examples + len(rejects):
        return (
            f"{num_rows} rows were read, but {num_examples} were written and {len(rejects)} rejected. Nothing is "
            "published, since some would be missing or doubled. This is a defect of multihot or of the runner."
        )
    allowed = options.rejects_allowed(num_rows)
    if len(rejects) > allowed or not num_examples:
        reasons = Counter(reject.reason.value for reject in rejects)
        lines = [
            f"{len(rejects)} of {num_rows} rows were rejected, and {allowed} may be (--max_rejects"
            + (f"={float(options.max_rejects):g})." if isinstance(options.max_rejects, Fraction) else ")."),
            "Nothing is published. What is wrong, with the first row of each kind:",
        ]
        for reason, count in reasons.most_common():
            first = next(reject for reject in rejects if reject.reason == reason)
            lines.append(f"  {count:>7} {reason}: line {first.line}, {first.filename!r}: {first.detail}")
        lines.append(f"All of them: {options.incomplete}/{layout.REJECTS}")
        return "\n".join(lines)
    return None


def _split_names(options: ConvertOptions, results: Iterable[ShardResult]) -> list[str]:
    """Returns the splits that hold anything: in the order of the flag, or by name where a column tells them."""
    order = [name for name, _ in options.splits]
    names = {result.split for result in results if result.shard}
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _finish_split(options: ConvertOptions, table: Table, name: str, results: Iterable[ShardResult]) -> SplitInfo:
    """Gives the shards of a split their final numbers: shards that came out empty leave no gap."""
    mine = [result for result in results if result.split == name]
    written = [result.shard for result in mine if result.shard]
    shards = []
    for i, shard in enumerate(written):
        path = layout.shard(name, i, len(written))
        for old, new in ((shard.path, path), (layout.shard_index(shard.path), layout.shard_index(path))):
            storage.move(posixpath.join(options.incomplete, old), posixpath.join(options.incomplete, new))
        shards.append(dataclasses.replace(shard, path=path))
    statistics = sum((result.statistics for result in mine), Statistics(positives=(0,) * len(table.classes)))
    return SplitInfo(name=name, shards=tuple(shards), statistics=statistics)
