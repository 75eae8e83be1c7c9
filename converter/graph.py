r"""The graph of the Beam job.

Image bytes never cross a shuffle: what is grouped are rows, and one task reads the images of one shard and writes it.

  CSV text -> rows ----\                                             /-> results --------\
                        join by name -> (shard, [row]) -> write ----<---> rejects --------->-- reconcile, publish
  folder listing ------/      |                       whole shard    \-> fingerprints ----/
   (name, size)               `-> rejects, unlisted files                of images, grouped

Splits that depend on more than a row (stratified, near duplicates) are assigned behind the join.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, TaggedOutput

from converter import assignment, duplicates, matching, progress, reading, rows, shards, storage, stratify
from converter.commit import Outcome, commit
from converter.duplicates import Fingerprint, Groups
from converter.images import Preparation
from converter.matching import Source
from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.shards import ShardResult
from converter.table import Table, composed

_REJECTS = "rejects"
_ROWS_READ = "rows_read"
_UNLISTED = "unlisted"


def build(
    pipeline: beam.Pipeline, options: ConvertOptions, tables: Sequence[Table], conversion: Mapping[str, Any]
) -> None:
    """Adds all steps of a conversion to a pipeline.

    Args:
        pipeline: empty.
        options: what to convert, and how.
        tables: what is to be read.
        conversion: what is to be noted of this run, beside the data.
    """
    read = (
        pipeline
        | "Csv" >> beam.Create(tables)
        | "ReadRows" >> beam.ParDo(_read_rows, options).with_outputs(_REJECTS, _ROWS_READ, main="rows")
    )  # Row
    files = (
        pipeline
        | "Images" >> beam.Create([options.images])
        | "ListFiles" >> beam.FlatMap(_list_images, options)
        | "KeyFiles" >> beam.Map(lambda file: (composed(file.name), file))
    )  # (filename, File)
    matched = (
        {"rows": read.rows | "KeyRows" >> beam.Map(lambda row: (row.filename, row)), "files": files}
        | "JoinByName" >> beam.CoGroupByKey()  # (filename, {"rows": [Row], "files": [File]})
        | "Match" >> beam.ParDo(_match).with_outputs(_REJECTS, _UNLISTED, main="sources")
    )  # Source
    sources = _assign_splits(matched.sources, options)
    sizes = (
        sources
        | "Sizes" >> beam.Map(lambda source: (source.row.split, (1, source.file.size)))
        | "SumSizes" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
        | "PlanShards" >> beam.Map(_plan, options)
    )  # (split, number of shards)
    results = (
        sources
        | "AssignShards" >> beam.Map(_assign, AsDict(sizes))  # ((split, shard, number of shards), Source)
        | "GroupByShard" >> beam.GroupByKey()  # (shard, [Source])
        | "WriteShards" >> beam.Map(_write, options)
    )  # ShardResult
    copies = (
        results
        | "Fingerprints" >> beam.FlatMap(_fingerprints)  # Fingerprint, located in its split
        | "FindCopies" >> _FindGroups()
    )  # {name: the first name of its group}
    rejects = (read[_REJECTS], matched[_REJECTS]) | "Rejects" >> beam.Flatten()  # Reject
    num_rows = read[_ROWS_READ] | "CountRows" >> beam.CombineGlobally(sum)  # int
    # The last step gets a table and not its tuple of classes, in which Beam would look at the type of each.
    _ = (
        pipeline
        | "Start" >> beam.Create([conversion])
        | "Commit"
        >> beam.Map(
            _commit,
            options,
            tables[0],
            copies=AsSingleton(copies),
            results=AsIter(results | "WithoutFingerprints" >> beam.Map(ShardResult.without_fingerprints)),
            rejects=AsIter(rejects),
            num_rows=AsSingleton(num_rows),
            unlisted=AsIter(matched[_UNLISTED]),
        )
    )


def _assign_splits(sources: beam.PCollection, options: ConvertOptions) -> beam.PCollection:
    """Gives images their splits where these depend on others: most of the time they follow from a row alone."""
    if options.split_method == "stratified":
        splits = (
            sources
            | "Labels" >> beam.Map(lambda source: (source.row.filename, source.row.labels))
            | "AllLabels" >> beam.combiners.ToList()
            | "Stratify" >> beam.Map(_stratify, options)
        )  # {filename: split}
        return sources | "TakeSplit" >> beam.Map(_take_split, AsSingleton(splits))
    if options.group_near_duplicates:
        groups = (
            sources
            | "Batch" >> beam.BatchElements(min_batch_size=64, max_batch_size=256)  # [Source]
            | "ReadFirst" >> beam.FlatMap(_fingerprints_of_groups, options)  # Fingerprint, by the name of its group
            | "FindDuplicates" >> _FindGroups()
        )  # {group: the first of those that it goes with}
        return sources | "KeepTogether" >> beam.Map(_keep_together, options, AsSingleton(groups))
    return sources


class _FindGroups(beam.PTransform):
    """Fingerprints -> one dictionary, from each name that has duplicates to the first name of its group."""

    def expand(self, fingerprints: beam.PCollection) -> beam.PCollection:
        return (
            fingerprints
            | "Bands" >> beam.FlatMap(lambda one: ((band, one) for band in duplicates.bands(one)))
            | "GroupByBand" >> beam.GroupByKey()  # (band, [Fingerprint])
            | "Links" >> beam.FlatMap(lambda group: duplicates.links(group[1]))  # (name, name)
            | "Connect" >> beam.CombineGlobally(_Connect())
        )


class _Connect(beam.CombineFn):
    """Links -> the groups of all that are connected."""

    def create_accumulator(self) -> Groups:
        return Groups()

    def add_input(self, groups: Groups, link: tuple[str, str]) -> Groups:
        groups.add(*link)
        return groups

    def merge_accumulators(self, accumulators: Iterable[Groups]) -> Groups:
        merged = Groups()
        for groups in accumulators:
            merged.merge(groups)
        return merged

    def extract_output(self, groups: Groups) -> dict[str, str]:
        return groups.result()


def _read_rows(table: Table, options: ConvertOptions) -> Iterator[Any]:
    """CSV -> rows, and beside them rejects and the number of both, counted where they are read."""
    num_rows = 0
    for row in rows.read_rows(options, table):
        num_rows += 1
        yield TaggedOutput(_REJECTS, row) if isinstance(row, Reject) else row
    yield TaggedOutput(_ROWS_READ, num_rows)


def _list_images(folder: str, options: ConvertOptions) -> Iterator[storage.File]:
    """Yields the files in the folder of images, but for those of this dataset, which may be put together in there."""
    own = tuple(f"{name}/" for path in options.folders if (name := storage.relative(path, folder)))
    return (file for file in storage.list_files(folder) if not file.name.startswith(own))


def _match(joined: tuple[str, Mapping[str, Iterable[Any]]]) -> Iterator[Any]:
    for found in matching.match(joined[1]["rows"], joined[1]["files"]):
        if isinstance(found, Source):
            yield found
        else:
            yield TaggedOutput(_REJECTS, found) if isinstance(found, Reject) else TaggedOutput(_UNLISTED, found.name)


def _plan(sizes: tuple[str, tuple[int, int]], options: ConvertOptions) -> tuple[str, int]:
    split, (num_images, num_bytes) = sizes
    progress.expect(num_images)
    asked = options.num_shards.get(split) or options.num_shards.get("")
    return split, asked or assignment.num_shards(
        num_examples=num_images, num_bytes=num_bytes, shard_bytes=options.shard_bytes
    )


def _assign(source: Source, num_shards: Mapping[str, int]) -> tuple[tuple[str, int, int], Source]:
    split = source.row.split
    shard = assignment.shard(assignment.position(source.row.filename), num_shards[split])
    return (split, shard, num_shards[split]), source


def _stratify(examples: Sequence[tuple[str, bytes]], options: ConvertOptions) -> dict[str, str]:
    if not examples:
        return {}
    names, labels = zip(*examples, strict=True)
    return stratify.stratify(names, np.frombuffer(b"".join(labels), np.uint8).reshape(len(names), -1), options.splits)


def _take_split(source: Source, splits: Mapping[str, str]) -> Source:
    return source._replace(row=source.row._replace(split=splits[source.row.filename]))


def _fingerprints_of_groups(sources: Sequence[Source], options: ConvertOptions) -> Iterator[Fingerprint]:
    for batch in reading.read(sources, _preparation(options), options.num_threads):
        for one in batch:
            if not isinstance(one, Reject):
                yield one.fingerprint._replace(filename=one.row.group)


def _keep_together(source: Source, options: ConvertOptions, groups: Mapping[str, str]) -> Source:
    group = groups.get(source.row.group, source.row.group)
    return source._replace(row=source.row._replace(group=group, split=assignment.split(group, options.splits)))


def _fingerprints(result: ShardResult) -> Iterator[Fingerprint]:
    for one in result.origin.fingerprints:
        yield duplicates.located(one, result.split)


def _preparation(options: ConvertOptions) -> Preparation:
    return Preparation(max_pixels=options.max_pixels, resize_shorter=options.resize_shorter)


def _write(group: tuple[tuple[str, int, int], Iterable[Source]], options: ConvertOptions) -> ShardResult:
    (split, index, num_shards), sources = group
    return shards.write_shard(
        options.incomplete,
        published=options.dataset,
        split=split,
        index=index,
        num_shards=num_shards,
        sources=sources,
        preparation=_preparation(options),
        num_threads=options.num_threads,
    )


def _commit(
    conversion: Mapping[str, Any], options: ConvertOptions, table: Table, copies: Mapping[str, str], **found: Any
) -> None:
    commit(options, table.classes, Outcome.of(duplicates=duplicates.members(copies), **found), conversion)
