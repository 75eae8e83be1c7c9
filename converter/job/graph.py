r"""Builds the graph of the Beam job, as one expression.

Image bytes never cross a shuffle: only rows are grouped, and one task reads the images of one shard and writes the
shard. Per-element overhead in Beam exceeds the cost of our work, so rows, files and fingerprints travel in batches
(shards/batches.py, shards/buckets.py).

  CSV text -> [Row] ---\                                                /-> results --------\
                        join by bucket -> (shard, [Source]) -> write ---<---> rejects --------->-- reconcile, publish
  folder listing ------/       |                         whole shard     \-> fingerprints ----/
     [File]                    `-> rejects, unlisted files                   duplicates.py

A bucket is a range of positions, which are hashes of names (splits/assignment.py): a row and the file that it names are
always in the same bucket. Splits that depend on several images (stratified, near duplicates) are assigned after the
join.

Mistakes of the user that a step finds go to the last step, which publishes nothing (failures.py).
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, TaggedOutput

from converter.duplicates import grouping
from converter.duplicates.embedded import Found
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.grouping import Member
from converter.job import claims, embedded, failures, joining, parallel
from converter.job.bucketing import IntoBuckets
from converter.job.commit import commit, fail
from converter.job.duplicates import FindGroups
from converter.job.joining import Counts, Joined
from converter.job.parallel import InProcesses
from converter.job.results import ConversionResult
from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.shards import batches, planning, reading, writing
from converter.shards.batches import Batch, Packed
from converter.shards.corrections import Corrections
from converter.shards.matching import Source
from converter.shards.planning import Shard
from converter.shards.writing import ShardResult
from converter.splits import assignment, augmented, stratify
from converter.system import processes, progress
from converter.table.header import Table
from converter.table.row import Row
from multihot.beam import watching

_REJECTS = "rejects"
_DAMAGED = "damaged"


def build(
    pipeline: beam.Pipeline,
    options: ConvertOptions,
    tables: Sequence[Table],
    corrections: Corrections,
    num_rows: int,
    num_parts: int,
    conversion: Mapping[str, Any],
    run: str = "",
    is_remote: bool = False,
    by_features: Found | None = None,
) -> None:
    """Adds all steps of a conversion to a pipeline.

    Args:
        pipeline: empty.
        options: of the conversion.
        tables: the files of the table.
        corrections: of labels.
        num_rows: of all these files, estimated.
        num_parts: of each band of fingerprints.
        conversion: facts about this run for conversion.json.
        run: id of the run, under which it has claimed the folder of the unfinished dataset.
        is_remote: whether the runner may repeat a step that fails.
        by_features: the copies that were found by features, if they were looked for.
    """
    joined = joining.read(pipeline, options, tables, num_rows)
    found, failed, num_embedded = None, joined.failed, ()
    if by_features:
        found = AsSingleton(pipeline | "CopiesByFeatures" >> beam.Create([by_features]))
        numbers, failed = embedded.count(pipeline, joined.sources, found, options, failed)
        num_embedded = AsIter(numbers)
    # Corrected labels move no image to another split.
    sources, failed = joining.correct(pipeline, _assign_splits(joined, options, num_parts, found), corrections, failed)
    written = (
        by_shard(sources, options, failed)  # (Shard, [packed [Source]])
        | "WriteShards"
        >> beam.ParDo(InProcesses(_begin_shard, options, run, hands_on=is_remote)).with_outputs(
            failures.FAILURES, main="results"
        )
    )  # ShardResult
    results = written.results
    failed = (failed, written[failures.FAILURES]) | "ShardsFailed" >> beam.Flatten()
    copies = (
        results
        | "Fingerprints" >> beam.Map(_fingerprints)  # [Fingerprint]
        | "FindCopies" >> FindGroups(sources, options, num_parts, _filename, found)
    )  # {file name: the first file name of its group}
    duplicates = results | "Duplicates" >> beam.FlatMap(_duplicates, AsSingleton(copies))  # Member
    num_augmented = (
        sources
        | "Versions" >> beam.FlatMap(_versions, num_parts)  # (part, [(image, split of a version)])
        | "GroupVersions" >> beam.GroupByKey()
        | "Augmented" >> beam.Map(lambda part: augmented.num_split(itertools.chain.from_iterable(part[1])))
    )  # int, of a part
    separate = results | "Separate" >> beam.ParDo(_separate).with_outputs(_REJECTS, _DAMAGED, main="results")
    rejects = (joined.rejects, separate[_REJECTS]) | "AllRejects" >> beam.Flatten()
    # The last step gets a table and not its tuple of classes: Beam would infer the type of every class in a tuple.
    _ = (
        pipeline
        | "Start" >> beam.Create([conversion])
        | "Commit"
        >> beam.Map(
            _commit,
            options,
            tables[0],
            run,
            len(corrections),
            len(by_features.digests) if by_features else 0,
            failed=AsIter(failed),
            duplicates=AsIter(duplicates),
            results=AsIter(separate.results),
            rejects=AsIter(rejects),
            damaged=AsIter(separate[_DAMAGED]),
            # A number for each file, bucket and part: a step that adds few numbers takes longer than adding them here.
            num_rows=AsIter(joined.num_rows),
            counts=AsIter(joined.counts),
            num_augmented=AsIter(num_augmented),
            num_embedded=num_embedded,
            unlisted=AsIter(joined.unlisted),
        )
    )


def by_shard(sources: beam.PCollection, options: ConvertOptions, failed: beam.PCollection) -> beam.PCollection:
    """Plans the shards, and groups the sources by shard: [Source] -> (Shard, [packed [Source]]).

    After a failure there is no shard: nothing would be published.
    """
    plans = (
        sources
        | "Sizes" >> beam.FlatMap(planning.sizes)
        | "SumSizes" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum, sum))
        | "PlanShards" >> beam.Map(_plan, options)
    )  # (split, (number of shards, whether there are unknown labels))
    return (
        sources
        | "AssignShards" >> beam.FlatMap(_assign, AsDict(plans), AsIter(failed))
        | "GroupByShard" >> beam.GroupByKey()
    )


def _assign_splits(
    joined: Joined, options: ConvertOptions, num_parts: int, by_features: AsSingleton | None
) -> beam.PCollection:
    """Assigns the splits that depend on several images. Other splits follow from a row alone, and are set already."""
    sources, num_buckets = joined.sources, joined.num_buckets
    if options.split_method == "stratified":
        splits = (
            sources
            | "Labels" >> beam.Map(_labels)  # (names of groups, labels)
            | "AllLabels" >> beam.combiners.ToList()
            | "Stratify" >> beam.ParDo(IntoBuckets(_stratify, lambda split: split[0], options), num_buckets)
        )  # (bucket, [(group, split)])
        grouped = sources | "SourcesByGroup" >> beam.ParDo(
            IntoBuckets(iter, lambda source: source.row.group, num_bytes=lambda source: len(source.row.labels)),
            num_buckets,
        )  # (bucket, [Source])
        return (
            {"sources": grouped, "splits": splits}
            | "JoinByGroup" >> beam.CoGroupByKey()
            | "TakeSplit" >> beam.Map(_take_split)
        )
    if options.group_near_duplicates:
        groups = (
            sources
            | "ReadFirst" >> beam.Map(_fingerprints_of_groups, options)  # [Fingerprint], by the names of their groups
            | "FindDuplicates" >> FindGroups(sources, options, num_parts, _group, by_features)
        )  # {group: the first of the groups that are joined with it}
        return sources | "KeepTogether" >> beam.Map(planning.keep_together, options, AsSingleton(groups))
    return sources


def _versions(sources: Batch[Source], num_parts: int) -> Iterable[tuple[int, Batch[tuple[str, str]]]]:
    named = ((augmented.original(row.filename), row.split) for row, _ in sources)
    pairs = [(name, split) for name, split in named if name]
    return planning.grouped(pairs, lambda pair: assignment.shard(assignment.position(pair[0]), num_parts)).items()


def _plan(sizes: tuple[str, tuple[int, int, int]], options: ConvertOptions) -> tuple[str, tuple[int, bool]]:
    split, (num_images, num_bytes, num_unknown) = sizes
    progress.expect(num_images)
    watching.count(planned=num_images)
    asked = options.num_shards.get(split) or options.num_shards.get("")
    num_shards = asked or assignment.num_shards(
        num_examples=num_images, num_bytes=num_bytes, shard_bytes=options.shard_bytes
    )
    return split, (num_shards, num_unknown > 0)


def _labels(sources: Batch[Source]) -> tuple[Batch[str], bytes]:
    return Batch(row.group for row, _ in sources), b"".join(row.labels for row, _ in sources)


def _assign(
    sources: Batch[Source], plans: Mapping[str, tuple[int, bool]], failed: Iterable[str]
) -> Iterator[tuple[Shard, bytes]]:
    if any(failed):
        return
    for shard, some in planning.assign(sources, plans):
        yield shard, some.packed()


def _stratify(batches: Sequence[tuple[Batch[str], bytes]], options: ConvertOptions) -> Iterable[tuple[str, str]]:
    groups = [group for some, _ in batches for group in some]
    if not groups:
        return ()
    labels = np.frombuffer(b"".join(labels for _, labels in batches), np.uint8).reshape(len(groups), -1)
    assign = stratify.stratify_groups if len(set(groups)) < len(groups) else stratify.stratify
    return assign(groups, labels, options.splits).items()


def _take_split(joined: tuple[int, Mapping[str, Iterable[Batch[Any]]]]) -> Batch[Source]:
    sources, splits = (itertools.chain.from_iterable(joined[1][name]) for name in ("sources", "splits"))
    return planning.take_split(sources, dict(splits))


def _fingerprints_of_groups(sources: Batch[Source], options: ConvertOptions) -> Batch[Fingerprint]:
    read = itertools.chain.from_iterable(reading.read(sources, reading.preparation(options), options.threads))
    return Batch(one.fingerprint._replace(filename=one.row.group) for one in read if not isinstance(one, Reject))


def _fingerprints(result: ShardResult) -> Batch[Fingerprint]:
    return result.provenance.fingerprints


def _separate(result: ShardResult) -> Iterator[Any]:
    yield result.without_fingerprints().without_rows()
    if result.rejects:
        yield TaggedOutput(_REJECTS, Batch(result.rejects).packed())
    if result.damaged:
        yield TaggedOutput(_DAMAGED, Batch(result.damaged).packed())


def _duplicates(result: ShardResult, copies: Mapping[str, str]) -> Iterator[Member]:
    return grouping.members(result.provenance.fingerprints, result.split, copies)


def _filename(row: Row) -> str:
    return row.filename


def _group(row: Row) -> str:
    return row.group


def _begin_shard(group: tuple[Shard, Iterable[bytes]], options: ConvertOptions, run: str) -> Callable[[], ShardResult]:
    (split, index, num_shards, has_unknown), sources = group
    begun = processes.begin(
        writing.write_shard,
        options.incomplete,
        published=options.dataset,
        split=split,
        index=index,
        num_shards=num_shards,
        sources=Packed(sources),
        preparation=reading.preparation(options),
        has_unknown=has_unknown,
        num_threads=parallel.threads_of_a_process(options),
        check=functools.partial(claims.check, options.incomplete, run),
    )
    return functools.partial(_written, begun)


def _written(begun: Callable[[], ShardResult]) -> ShardResult:
    result = begun()
    if processes.number() > 1:  # With one process, the bar has been advanced image by image.
        progress.advance(result.num_rows)
    watching.count(done=result.num_rows, rejected=len(result.rejects))
    return result


def _commit(
    conversion: Mapping[str, Any],
    options: ConvertOptions,
    table: Table,
    run: str,
    num_corrected: int,
    num_featured: int,
    *,
    failed: Iterable[str],
    num_rows: Iterable[int],
    counts: Iterable[Counts],
    num_augmented: Iterable[int],
    num_embedded: Iterable[tuple[int, int]],
    rejects: Iterable[bytes],
    unlisted: Iterable[bytes],
    damaged: Iterable[bytes],
    **found: Any,
) -> None:
    reason = min(failed, default="")
    if reason:
        fail(options, reason, run)
        return
    merged, differing = map(sum, zip(Counts(0, 0), *counts, strict=True))
    result = ConversionResult.of(
        num_rows=sum(num_rows),
        num_merged=merged,
        num_differing=differing,
        num_augmented=sum(num_augmented),
        num_corrected=num_corrected,
        num_embedded=sum(with_row for _, with_row in num_embedded),
        num_featured=num_featured,
        rejects=batches.unpacked(rejects),
        unlisted=batches.unpacked(unlisted),
        damaged=batches.unpacked(damaged),
        **found,
    )
    commit(options, table.classes, result, conversion, run)
