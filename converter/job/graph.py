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
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.grouping import Member
from converter.job import claims, failures, parallel, sizing, watching, workers
from converter.job.commit import ConversionResult, commit, fail
from converter.job.duplicates import FindGroups
from converter.job.parallel import InProcesses
from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.shards import buckets, listing, planning, reading, writing
from converter.shards.batches import Batch, Packed
from converter.shards.matching import Matcher, Merged, Source
from converter.shards.planning import Shard
from converter.shards.writing import ShardResult
from converter.splits import assignment, augmented, stratify
from converter.system import processes, progress
from converter.table import filenames, rows
from converter.table.header import Table
from converter.table.row import Row
from converter.text import nfc
from multihot import storage

_REJECTS = "rejects"
_ROWS_READ = "rows_read"
_UNLISTED = "unlisted"
_MERGED = "merged"

# Files of a listing that travel together.
_LISTED = 10_000


def build(
    pipeline: beam.Pipeline,
    options: ConvertOptions,
    tables: Sequence[Table],
    num_rows: int,
    num_parts: int,
    conversion: Mapping[str, Any],
    run: str = "",
) -> None:
    """Adds all steps of a conversion to a pipeline.

    Args:
        pipeline: empty.
        options: of the conversion.
        tables: the files of the table.
        num_rows: of all these files, estimated.
        num_parts: of each band of fingerprints.
        conversion: facts about this run for conversion.json.
        run: id of the run, under which it has claimed the folder of the unfinished dataset.
    """
    num_classes = len(tables[0].classes)
    csvs = [table.path for table in tables]
    parts = (
        pipeline
        | "Images" >> beam.Create([options.images])
        | "ListingParts"
        >> beam.ParDo(_listing_parts, options, csvs, workers.version()).with_outputs(failures.FAILURES, main="parts")
    )
    listed = (
        parts.parts
        | "ToWorkers" >> beam.Reshuffle()
        | "ListFiles" >> beam.ParDo(_list_files, options, csvs).with_outputs(failures.FAILURES, main="files")
    )  # [File]
    num_buckets = AsSingleton(
        listed.files
        | "CountFiles" >> beam.Map(len)
        | "AllFiles" >> beam.CombineGlobally(sum)
        | "NumBuckets" >> beam.Map(lambda num_files: sizing.num_buckets(num_rows, num_files, num_classes))
    )
    read = (
        pipeline
        | "Csv" >> beam.Create(tables)
        | "ReadRows"
        >> beam.ParDo(_read_rows, options, num_buckets).with_outputs(_ROWS_READ, failures.FAILURES, main="rows")
    )  # (bucket, [Row or Reject])
    filed = listed.files | "FilesByBucket" >> beam.FlatMap(_files_by_bucket, options, num_buckets)  # (bucket, [File])
    failed = tuple(each[failures.FAILURES] for each in (parts, listed, read)) | "Failures" >> beam.Flatten()  # str
    matched = join(read.rows, filed, options, failed)
    sources = _assign_splits(matched.sources, options, num_parts, num_buckets)
    results = (
        by_shard(sources, options)  # (Shard, [packed [Source]])
        | "WriteShards" >> beam.ParDo(InProcesses(_begin_shard, options, run))
    )  # ShardResult
    copies = (
        results
        | "Fingerprints" >> beam.Map(_fingerprints)  # [Fingerprint]
        | "FindCopies" >> FindGroups(sources, options, num_parts, _filename)
    )  # {file name: the first file name of its group}
    duplicates = results | "Duplicates" >> beam.FlatMap(_duplicates, AsSingleton(copies))  # Member
    num_augmented = (
        sources
        | "Versions" >> beam.FlatMap(_versions, num_parts)  # (part, [(image, split of a version)])
        | "GroupVersions" >> beam.GroupByKey()
        | "Augmented" >> beam.Map(lambda part: augmented.num_split(itertools.chain.from_iterable(part[1])))
    )  # int, of a part
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
            failed=AsIter(failed),
            duplicates=AsIter(duplicates),
            results=AsIter(results | "WithoutFingerprints" >> beam.Map(ShardResult.without_fingerprints)),
            rejects=AsIter(matched[_REJECTS]),
            # A number for each file, bucket and part: a step that adds few numbers takes longer than adding them here.
            num_rows=AsIter(read[_ROWS_READ]),
            num_merged=AsIter(matched[_MERGED]),
            num_augmented=AsIter(num_augmented),
            unlisted=AsIter(matched[_UNLISTED]),
        )
    )


def join(rows: beam.PCollection, files: beam.PCollection, options: ConvertOptions, failed: beam.PCollection) -> Any:
    """Joins rows with the files that they name.

    Args:
        rows: (bucket, [Row or Reject])
        files: (bucket, [File])
        options: of the conversion, with the limit for the size of a file.
        failed: the reasons why nothing will be published. If there is one, nothing is joined, and no shard is written.

    Returns:
        `sources`: [Source]; and as further outputs [Reject] and [name of an unlisted file], both packed, and numbers of
        rows that have been merged with others.
    """
    return (
        {"rows": rows, "files": files}
        | "JoinByBucket" >> beam.CoGroupByKey()  # (bucket, {"rows": [[Row]], "files": [[File]]})
        | "Match"
        >> beam.ParDo(_match, options, AsIter(failed)).with_outputs(_REJECTS, _UNLISTED, _MERGED, main="sources")
    )


def by_shard(sources: beam.PCollection, options: ConvertOptions) -> beam.PCollection:
    """Plans the shards, and groups the sources by shard: [Source] -> (Shard, [packed [Source]])."""
    plans = (
        sources
        | "Sizes" >> beam.FlatMap(planning.sizes)
        | "SumSizes" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum, sum))
        | "PlanShards" >> beam.Map(_plan, options)
    )  # (split, (number of shards, whether there are unknown labels))
    return sources | "AssignShards" >> beam.FlatMap(_assign, AsDict(plans)) | "GroupByShard" >> beam.GroupByKey()


def _assign_splits(
    sources: beam.PCollection, options: ConvertOptions, num_parts: int, num_buckets: AsSingleton
) -> beam.PCollection:
    """Assigns the splits that depend on several images. Other splits follow from a row alone, and are set already."""
    if options.split_method == "stratified":
        splits = (
            sources
            | "Labels" >> beam.Map(_labels)  # (names of groups, labels)
            | "AllLabels" >> beam.combiners.ToList()
            | "Stratify" >> beam.FlatMap(_stratify, options, num_buckets)
        )  # (bucket, [(group, split)])
        grouped = sources | "SourcesByGroup" >> beam.FlatMap(_by_group, num_buckets)  # (bucket, [Source])
        return (
            {"sources": grouped, "splits": splits}
            | "JoinByGroup" >> beam.CoGroupByKey()
            | "TakeSplit" >> beam.Map(_take_split)
        )
    if options.group_near_duplicates:
        groups = (
            sources
            | "ReadFirst" >> beam.Map(_fingerprints_of_groups, options)  # [Fingerprint], by the names of their groups
            | "FindDuplicates" >> FindGroups(sources, options, num_parts, _group)
        )  # {group: the first of the groups that are joined with it}
        return sources | "KeepTogether" >> beam.Map(planning.keep_together, options, AsSingleton(groups))
    return sources


def _read_rows(table: Table, options: ConvertOptions, num_buckets: int) -> Iterator[Any]:
    """CSV -> rows, rejected ones among them, since the files that they name are listed; and the number of rows."""
    num_rows = 0
    key = filenames.key(options.filename_match)

    def counted() -> Iterator[Row | Reject]:
        nonlocal num_rows
        for row in rows.read_rows(options, table):
            num_rows += 1
            yield row

    filled = buckets.fill(counted(), lambda row: key(row.filename), num_buckets, _num_bytes)
    yield from failures.handed_on(filled)
    yield TaggedOutput(_ROWS_READ, num_rows)


def _num_bytes(row: Row | Reject) -> int:
    return len(row.labels if isinstance(row, Row) else row.detail)


def _listing_parts(folder: str, options: ConvertOptions, csvs: Sequence[str], version: str) -> Iterator[Any]:
    """Folder -> parts of its listing. The only element of the first step: a worker checks here what it may do."""

    def parts() -> Iterator[storage.Part]:
        workers.check(options.incomplete, version)
        if first := next(listing.images(options, csvs), None):
            workers.check_readable(first.path)
        yield from storage.parts(folder)

    return failures.handed_on(parts())


def _list_files(part: storage.Part, options: ConvertOptions, csvs: Sequence[str]) -> Iterator[Any]:
    def batches() -> Iterator[Batch[storage.File]]:
        files = listing.images(options, csvs, part)
        while batch := Batch(itertools.islice(files, _LISTED)):
            yield batch

    return failures.handed_on(batches())


def _files_by_bucket(
    files: Batch[storage.File], options: ConvertOptions, num_buckets: int
) -> Iterable[tuple[int, Batch[storage.File]]]:
    key = filenames.key(options.filename_match)
    return buckets.fill(files, lambda file: key(nfc(file.name)), num_buckets)


def _match(
    joined: tuple[int, Mapping[str, Iterable[Batch[Any]]]], options: ConvertOptions, failed: Iterable[str]
) -> Iterator[Any]:
    if any(failed):
        return
    _, bucket = joined
    sources, rejects, unlisted = Batch[Source](), Batch[Reject](), Batch[str]()
    num_merged = 0
    rows_, files = (itertools.chain.from_iterable(bucket[name]) for name in ("rows", "files"))
    for found in Matcher(options).match_all(rows_, files):
        if isinstance(found, Source):
            sources.append(found)
        elif isinstance(found, Merged):
            num_merged += 1
        elif isinstance(found, Reject):
            rejects.append(found)
        else:
            unlisted.append(found.name)
    watching.count(rejected=len(rejects))
    yield sources
    yield TaggedOutput(_REJECTS, rejects.packed())
    yield TaggedOutput(_UNLISTED, unlisted.packed())
    yield TaggedOutput(_MERGED, num_merged)


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


def _assign(sources: Batch[Source], plans: Mapping[str, tuple[int, bool]]) -> Iterator[tuple[Shard, bytes]]:
    for shard, some in planning.assign(sources, plans):
        yield shard, some.packed()


def _stratify(
    batches: Sequence[tuple[Batch[str], bytes]], options: ConvertOptions, num_buckets: int
) -> Iterable[tuple[int, Batch[tuple[str, str]]]]:
    groups = [group for some, _ in batches for group in some]
    if not groups:
        return ()
    labels = np.frombuffer(b"".join(labels for _, labels in batches), np.uint8).reshape(len(groups), -1)
    assign = stratify.stratify_groups if len(set(groups)) < len(groups) else stratify.stratify
    splits = assign(groups, labels, options.splits)
    return buckets.fill(splits.items(), lambda split: split[0], num_buckets)


def _by_group(sources: Batch[Source], num_buckets: int) -> Iterable[tuple[int, Batch[Source]]]:
    return buckets.fill(sources, lambda source: source.row.group, num_buckets)


def _take_split(joined: tuple[int, Mapping[str, Iterable[Batch[Any]]]]) -> Batch[Source]:
    sources, splits = (itertools.chain.from_iterable(joined[1][name]) for name in ("sources", "splits"))
    return planning.take_split(sources, dict(splits))


def _fingerprints_of_groups(sources: Batch[Source], options: ConvertOptions) -> Batch[Fingerprint]:
    read = itertools.chain.from_iterable(reading.read(sources, reading.preparation(options), options.threads))
    return Batch(one.fingerprint._replace(filename=one.row.group) for one in read if not isinstance(one, Reject))


def _fingerprints(result: ShardResult) -> Batch[Fingerprint]:
    return result.provenance.fingerprints


def _duplicates(result: ShardResult, copies: Mapping[str, str]) -> Iterator[Member]:
    return grouping.members(result.provenance.fingerprints, result.split, copies)


def _filename(row: Row) -> str:
    return row.filename


def _group(row: Row) -> str:
    return row.group


def _begin_shard(group: tuple[Shard, Iterable[bytes]], options: ConvertOptions, run: str) -> Callable[[], ShardResult]:
    claims.check(options.incomplete, run)
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
    *,
    failed: Iterable[str],
    num_rows: Iterable[int],
    num_merged: Iterable[int],
    num_augmented: Iterable[int],
    rejects: Iterable[bytes],
    unlisted: Iterable[bytes],
    **found: Any,
) -> None:
    reason = min(failed, default="")
    if reason:
        fail(options, reason, run)
        return
    result = ConversionResult.of(
        num_rows=sum(num_rows),
        num_merged=sum(num_merged),
        num_augmented=sum(num_augmented),
        rejects=Packed(rejects),
        unlisted=Packed(unlisted),
        **found,
    )
    commit(options, table.classes, result, conversion, run)
