r"""Builds the graph of the Beam job, as one expression.

Image bytes never cross a shuffle: only rows are grouped, and one task reads the images of one shard and writes the
shard. Per-element overhead in Beam exceeds the cost of our work, so rows, files and fingerprints travel in batches
(shards/batches.py).

  CSV text -> [Row] ---\                                                /-> results --------\
                        join by bucket -> (shard, [Source]) -> write ---<---> rejects --------->-- reconcile, publish
  folder listing ------/       |                         whole shard     \-> fingerprints ----/
     [File]                    `-> rejects, unlisted files                   joined by band

A bucket is a range of positions, which are hashes of names (splits/assignment.py): a row and the file that it names are
always in the same bucket. Splits that depend on several images (stratified, near duplicates) are assigned after the
join.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, TaggedOutput

from converter.duplicates import grouping, lookalikes, neighbours
from converter.duplicates.components import Groups, Links
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.lookalikes import Candidates, Picture
from converter.duplicates.neighbours import Columns
from converter.images.prove import Preparation
from converter.job.commit import Outcome, commit
from converter.job.parallel import InProcesses
from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.shards import batches, matching, planning, reading, writing
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.shards.writing import ShardResult
from converter.splits import assignment, stratify
from converter.system import processes, progress, storage
from converter.table import rows
from converter.table.header import Table
from converter.table.row import Row
from converter.text import composed

_REJECTS = "rejects"
_ROWS_READ = "rows_read"
_UNLISTED = "unlisted"
_TO_READ = "to_read"

# Number of tasks that compare candidates, for each part of a band: the number of bands.
_TASKS = neighbours.MAX_DISTANCE + 1


def build(
    pipeline: beam.Pipeline, options: ConvertOptions, tables: Sequence[Table], conversion: Mapping[str, Any]
) -> None:
    """Adds all steps of a conversion to a pipeline.

    Args:
        pipeline: empty.
        options: of the conversion.
        tables: the files of the table.
        conversion: facts about this run for conversion.json.
    """
    num_bytes = csv_bytes(tables)
    num_buckets, num_parts = batches.num_buckets(num_bytes), batches.num_parts(num_bytes)
    read = (
        pipeline
        | "Csv" >> beam.Create(tables)
        | "ReadRows" >> beam.ParDo(_read_rows, options, num_buckets).with_outputs(_REJECTS, _ROWS_READ, main="rows")
    )  # (bucket, [Row])
    files = (
        pipeline
        | "Images" >> beam.Create([options.images])
        | "ListFiles" >> beam.FlatMap(_list_images, options, num_buckets)
    )  # (bucket, [File])
    matched = join(read.rows, files, options)
    sources = _assign_splits(matched.sources, options, num_parts)
    results = (
        by_shard(sources, options)  # ((split, shard, number of shards), [[Source]])
        | "WriteShards" >> beam.ParDo(InProcesses(_begin_shard, options))
    )  # ShardResult
    copies = (
        results
        | "Fingerprints" >> beam.Map(_fingerprints)  # [Fingerprint], located in their split
        | "FindCopies" >> FindGroups(sources, options, num_parts, _filename)
    )  # {name: the first name of its group}
    rejects = (read[_REJECTS], matched[_REJECTS]) | "Rejects" >> beam.Flatten()  # Reject
    num_rows = read[_ROWS_READ] | "CountRows" >> beam.CombineGlobally(sum)  # int
    # The last step gets a table and not its tuple of classes: Beam would infer the type of every class in a tuple.
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


def csv_bytes(tables: Sequence[Table]) -> int:
    """Returns the size of all files of the table, from which the number of rows is estimated before they are read."""
    return sum(storage.size(table.path) for table in tables)


def join(rows: beam.PCollection, files: beam.PCollection, options: ConvertOptions) -> Any:
    """Joins rows with the files that they name.

    Args:
        rows: (bucket, [Row])
        files: (bucket, [File])
        options: of the conversion, with the limit for the size of a file.

    Returns:
        `sources`: [Source]; and as further outputs the rejects and the names of unlisted files.
    """
    return (
        {"rows": rows, "files": files}
        | "JoinByBucket" >> beam.CoGroupByKey()  # (bucket, {"rows": [[Row]], "files": [[File]]})
        | "Match" >> beam.ParDo(_match, options).with_outputs(_REJECTS, _UNLISTED, main="sources")
    )


def by_shard(sources: beam.PCollection, options: ConvertOptions) -> beam.PCollection:
    """Plans the shards, and groups the sources by shard: [Source] -> ((split, shard, number of shards), [[Source]])."""
    sizes = (
        sources
        | "Sizes" >> beam.FlatMap(planning.sizes)
        | "SumSizes" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
        | "PlanShards" >> beam.Map(_plan, options)
    )  # (split, number of shards)
    return (
        sources | "AssignShards" >> beam.FlatMap(planning.assign, AsDict(sizes)) | "GroupByShard" >> beam.GroupByKey()
    )


def _assign_splits(sources: beam.PCollection, options: ConvertOptions, num_parts: int) -> beam.PCollection:
    """Assigns the splits that depend on several images. Other splits follow from a row alone, and are set already."""
    if options.split_method == "stratified":
        splits = (
            sources
            | "Labels" >> beam.FlatMap(lambda batch: [(row.filename, row.labels) for row, _ in batch])
            | "AllLabels" >> beam.combiners.ToList()
            | "Stratify" >> beam.Map(_stratify, options)
        )  # {filename: split}
        return sources | "TakeSplit" >> beam.Map(planning.take_split, AsSingleton(splits))
    if options.group_near_duplicates:
        groups = (
            sources
            | "ReadFirst" >> beam.Map(_fingerprints_of_groups, options)  # [Fingerprint], by the names of their groups
            | "FindDuplicates" >> FindGroups(sources, options, num_parts, _group)
        )  # {group: the first of those that it goes with}
        return sources | "KeepTogether" >> beam.Map(planning.keep_together, options, AsSingleton(groups))
    return sources


class FindGroups(beam.PTransform):
    """[Fingerprint] -> one dictionary, from each name that has duplicates to the first name of its group."""

    def __init__(
        self, sources: beam.PCollection, options: ConvertOptions, num_parts: int, named_by: Callable[[Row], str]
    ):
        """Stores the arguments; the sources and options serve to read candidates a second time.

        Args:
            sources: [Source], of all images.
            options: of the conversion.
            num_parts: of each band.
            named_by: from a row to the name of its fingerprint, or to the first part of a name from
                `grouping.located`.
        """
        super().__init__()
        self._sources, self._options, self._num_parts, self._named_by = sources, options, num_parts, named_by

    def expand(self, fingerprints: beam.PCollection) -> beam.PCollection:
        """Returns the dictionary, the only element."""
        groups = AsSingleton(
            fingerprints
            | "Bands" >> beam.FlatMap(_bands, self._num_parts)
            | "GroupByBand" >> beam.GroupByKey()  # ((band or all of them, part), [Columns])
            | "Links" >> beam.ParDo(InProcesses(_begin_links))  # Links
            | "Connect" >> beam.CombineGlobally(_Connect())
        )  # {name: the first name of its group of candidates}
        num_tasks = _TASKS * self._num_parts
        candidates = fingerprints | "Candidates" >> beam.FlatMap(_candidates, groups, num_tasks).with_outputs(
            _TO_READ, main="parts"
        )
        to_read = AsDict(candidates[_TO_READ])  # {named_by: name}
        pictured = (
            self._sources
            # The reshuffle keeps Beam from fusing this with the step that makes the sources: the two in one step would
            # wait for each other.
            | "Apart" >> beam.Reshuffle()
            | "ToRead" >> beam.FlatMap(_to_read, self._named_by, to_read)  # (0, [[(name, Source)]])
            | "ReadAgain" >> beam.ParDo(InProcesses(_begin_reading_again, self._options))  # [(Fingerprint, Picture)]
            | "Pictured" >> beam.FlatMap(_pictured, groups, num_tasks)
        )
        return (
            (candidates.parts, pictured)
            | "WithPictures" >> beam.Flatten()
            | "GroupCandidates" >> beam.GroupByKey()  # (part, [Candidates])
            | "Compare" >> beam.ParDo(InProcesses(_begin_comparing))  # Links
            | "ConnectCopies" >> beam.CombineGlobally(_Connect())
        )


class _Connect(beam.CombineFn):
    """Links -> the groups of connected names."""

    def create_accumulator(self) -> Groups:
        return Groups()

    def add_input(self, groups: Groups, links: Links) -> Groups:
        groups.add(links)
        return groups

    def merge_accumulators(self, accumulators: Iterable[Groups]) -> Groups:
        merged = Groups()
        for groups in accumulators:
            merged.merge(groups)
        return merged

    def extract_output(self, groups: Groups) -> dict[str, str]:
        return groups.result()


def _read_rows(table: Table, options: ConvertOptions, num_buckets: int) -> Iterator[Any]:
    """CSV -> rows; and as further outputs the rejects, and the number of rows and rejects together."""
    num_rows = 0
    rejects: list[Reject] = []

    def good() -> Iterator[Row]:
        nonlocal num_rows
        for row in rows.read_rows(options, table):
            num_rows += 1
            if isinstance(row, Reject):
                rejects.append(row)
            else:
                yield row

    yield from batches.fill(good(), lambda row: row.filename, num_buckets, lambda row: len(row.labels))
    yield from (TaggedOutput(_REJECTS, reject) for reject in rejects)
    yield TaggedOutput(_ROWS_READ, num_rows)


def _list_images(folder: str, options: ConvertOptions, num_buckets: int) -> Iterator[tuple[int, Batch[storage.File]]]:
    """Yields the files in the folder of images, without those of this dataset: --output may lie in that folder."""
    own = tuple(f"{name}/" for path in options.folders if (name := storage.relative(path, folder)))
    files = (file for file in storage.list_files(folder) if not file.name.startswith(own))
    return batches.fill(files, lambda file: composed(file.name), num_buckets)


def _match(joined: tuple[int, Mapping[str, Iterable[Batch[Any]]]], options: ConvertOptions) -> Iterator[Any]:
    _, bucket = joined
    sources = Batch[Source]()
    rows_, files = (itertools.chain.from_iterable(bucket[name]) for name in ("rows", "files"))
    for found in matching.match_all(rows_, files, options.max_image_bytes):
        if isinstance(found, Source):
            sources.append(found)
        else:
            yield TaggedOutput(_REJECTS, found) if isinstance(found, Reject) else TaggedOutput(_UNLISTED, found.name)
    yield sources


def _plan(sizes: tuple[str, tuple[int, int]], options: ConvertOptions) -> tuple[str, int]:
    split, (num_images, num_bytes) = sizes
    progress.expect(num_images)
    asked = options.num_shards.get(split) or options.num_shards.get("")
    return split, asked or assignment.num_shards(
        num_examples=num_images, num_bytes=num_bytes, shard_bytes=options.shard_bytes
    )


def _stratify(examples: Sequence[tuple[str, bytes]], options: ConvertOptions) -> dict[str, str]:
    if not examples:
        return {}
    names, labels = zip(*examples, strict=True)
    return stratify.stratify(names, np.frombuffer(b"".join(labels), np.uint8).reshape(len(names), -1), options.splits)


def _fingerprints_of_groups(sources: Batch[Source], options: ConvertOptions) -> Batch[Fingerprint]:
    read = itertools.chain.from_iterable(reading.read(sources, _preparation(options), options.threads))
    return Batch(one.fingerprint._replace(filename=one.row.group) for one in read if not isinstance(one, Reject))


def _fingerprints(result: ShardResult) -> Batch[Fingerprint]:
    return Batch(grouping.located(one, result.split) for one in result.origin.fingerprints)


def _bands(some: Batch[Fingerprint], num_parts: int) -> Iterator[tuple[tuple[int, int], Columns]]:
    return neighbours.bands(some, num_parts)


def _begin_links(group: tuple[tuple[int, int], Iterable[Columns]]) -> Callable[[], Links]:
    (band, _), columns = group
    return neighbours.begin_links(band, columns)


def _candidates(some: Batch[Fingerprint], groups: Mapping[str, str], num_parts: int) -> Iterator[Any]:
    """Yields candidates by part; and as a further output (name in the row, name) of each image to be read again."""
    yield from lookalikes.parts(some, [None] * len(some), groups, num_parts)
    chosen = [one for one in some if one.filename in groups and one.phash is not None]
    for one, is_plain in zip(chosen, lookalikes.are_plain(chosen), strict=True):
        if is_plain:
            yield TaggedOutput(_TO_READ, (grouping.filename(one), one.filename))


def _filename(row: Row) -> str:
    return row.filename


def _group(row: Row) -> str:
    return row.group


def _to_read(
    sources: Batch[Source], named_by: Callable[[Row], str], to_read: Mapping[str, str]
) -> Iterator[tuple[int, list[Batch[Any]]]]:
    """Yields the sources that are to be read again, with the names of their fingerprints."""
    keys = [named_by(row) for row, _ in sources]
    chosen = Batch((to_read[key], source) for key, source in zip(keys, sources, strict=True) if key in to_read)
    if chosen:
        yield 0, [chosen]


def _begin_reading_again(chosen: tuple[int, Iterable[Batch[Any]]], options: ConvertOptions) -> Callable[[], Batch[Any]]:
    names, sources = zip(*itertools.chain.from_iterable(chosen[1]), strict=True)
    num_threads = -(-options.threads // processes.number())
    return processes.begin(reading.pictured, names, sources, _preparation(options), num_threads)


def _pictured(
    read: Sequence[tuple[Fingerprint, Picture]], groups: Mapping[str, str], num_parts: int
) -> Iterator[tuple[int, Candidates]]:
    if read:
        some, pictures = zip(*read, strict=True)
        yield from lookalikes.parts(some, pictures, groups, num_parts)


def _begin_comparing(part: tuple[int, Iterable[Candidates]]) -> Callable[[], Links]:
    return lookalikes.begin_links(part[1])


def _preparation(options: ConvertOptions) -> Preparation:
    return Preparation(
        max_pixels=options.max_pixels,
        max_bytes=options.max_image_bytes,
        resize_shorter=options.resize_shorter,
        keep_damaged=options.keep_damaged,
        rescale_16bit=options.rescale_16bit,
    )


def _begin_shard(
    group: tuple[tuple[str, int, int], Iterable[Batch[Source]]], options: ConvertOptions
) -> Callable[[], ShardResult]:
    (split, index, num_shards), sources = group
    begun = processes.begin(
        writing.write_shard,
        options.incomplete,
        published=options.dataset,
        split=split,
        index=index,
        num_shards=num_shards,
        sources=Batch(itertools.chain.from_iterable(sources)),
        preparation=_preparation(options),
        num_threads=-(-options.threads // processes.number()),
    )
    return functools.partial(_written, begun)


def _written(begun: Callable[[], ShardResult]) -> ShardResult:
    result = begun()
    if processes.number() > 1:  # With one process, the bar has been advanced image by image.
        progress.advance(result.num_rows)
    return result


def _commit(
    conversion: Mapping[str, Any], options: ConvertOptions, table: Table, copies: Mapping[str, str], **found: Any
) -> None:
    commit(options, table.classes, Outcome.of(duplicates=grouping.members(copies), **found), conversion)
