"""Adds the steps that read the table and list the images, join rows with the files that they name, and correct labels.

folder -> parts of its listing -> [File] -> number of files -> number of buckets
|                             |
`-> (bucket, [File]) <--------+--------> (bucket, [Row or Reject]) <- CSV text
`--------- join by bucket ---------'
v
[Source], and rejects, unlisted files, counts
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton, TaggedOutput

from converter.job import failures, sizing
from converter.job.bucketing import IntoBuckets
from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.shards import listing, matching
from converter.shards.batches import Batch
from converter.shards.corrections import Corrections
from converter.shards.matching import Matcher, Merged, Source
from converter.table import filenames, rows
from converter.table.header import Table
from converter.table.row import Row
from converter.text import nfc
from multihot import storage
from multihot.beam import watching, workers

# The code that workers must have in common with the launcher.
_PACKAGE = "converter"
_REJECTS = "rejects"
_ROWS_READ = "rows_read"
_UNLISTED = "unlisted"
_COUNTS = "counts"
_USED = "used"

# Files of a listing that travel together.
_LISTED = 10_000


class Counts(NamedTuple):
    """Counts of a bucket.

    Attributes:
        merged: rows that have been merged with others.
        differing: files whose rows differ in their labels alone, and were rejected.
    """

    merged: int
    differing: int


class Joined(NamedTuple):
    """The results of these steps.

    Attributes:
        sources: [Source]
        rejects: [Reject], packed.
        unlisted: [name of a file that no row names], packed.
        num_rows: numbers of rows that were read.
        counts: Counts
        failed: the reasons why nothing will be published. If there is one, nothing is joined, and no shard is written.
        num_buckets: the number of buckets, for further joins.
    """

    sources: beam.PCollection
    rejects: beam.PCollection
    unlisted: beam.PCollection
    num_rows: beam.PCollection
    counts: beam.PCollection
    failed: beam.PCollection
    num_buckets: AsSingleton


def read(pipeline: beam.Pipeline, options: ConvertOptions, tables: Sequence[Table], num_rows: int) -> Joined:
    """Adds the steps to an empty pipeline.

    Args:
        pipeline: to which they are added.
        options: of the conversion.
        tables: the files of the table.
        num_rows: of all these files, estimated.
    """
    num_classes = len(tables[0].classes)
    csvs = [table.path for table in tables]
    version = workers.version(_PACKAGE)
    parts = (
        pipeline
        | "Images" >> beam.Create([options.images])
        | "ListingParts"
        >> beam.ParDo(_listing_parts, options, csvs, version).with_outputs(failures.FAILURES, main="parts")
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
    key = filenames.key(options.filename_match)
    read_rows = IntoBuckets(_read_rows, lambda row: key(row.filename), options, num_bytes=_num_bytes)
    rows_read = (
        pipeline
        | "Csv" >> beam.Create(tables)
        | "ReadRows" >> beam.ParDo(read_rows, num_buckets).with_outputs(_ROWS_READ, failures.FAILURES, main="rows")
    )  # (bucket, [Row or Reject])
    filed = listed.files | "FilesByBucket" >> beam.ParDo(
        IntoBuckets(iter, lambda file: key(nfc(file.name))), num_buckets
    )  # (bucket, [File])
    failed = tuple(each[failures.FAILURES] for each in (parts, listed, rows_read)) | "Failures" >> beam.Flatten()  # str
    joined = (
        {"rows": rows_read.rows, "files": filed}
        | "JoinByBucket" >> beam.CoGroupByKey()  # (bucket, {"rows": [[Row]], "files": [[File]]})
        | "Match"
        >> beam.ParDo(_match, options, AsIter(failed)).with_outputs(_REJECTS, _UNLISTED, _COUNTS, main="sources")
    )
    return Joined(
        sources=joined.sources,
        rejects=joined[_REJECTS],
        unlisted=joined[_UNLISTED],
        num_rows=rows_read[_ROWS_READ],
        counts=joined[_COUNTS],
        failed=failed,
        num_buckets=num_buckets,
    )


def correct(
    pipeline: beam.Pipeline, sources: beam.PCollection, corrections: Corrections, failed: beam.PCollection
) -> tuple[beam.PCollection, beam.PCollection]:
    """Adds the steps that correct labels: [Source] -> [Source].

    Args:
        pipeline: of the steps.
        sources: with their splits.
        corrections: of labels.
        failed: the reasons why nothing will be published.

    Returns:
        The sources, and these reasons with further ones: a row has changed, or a correction was not used.
    """
    if not corrections:
        return sources, failed
    corrected = sources | "Correct" >> beam.ParDo(_correct, corrections).with_outputs(
        _USED, failures.FAILURES, main="sources"
    )
    failed = (failed, corrected[failures.FAILURES]) | "RowsHaveChanged" >> beam.Flatten()
    unused = (
        pipeline
        | "Corrections" >> beam.Create([corrections])
        | "FindUnused" >> beam.FlatMap(_unused, AsIter(corrected[_USED]), AsIter(failed))
    )  # str
    return corrected.sources, (failed, unused) | "CorrectionsUnused" >> beam.Flatten()


def _correct(sources: Batch[Source], corrections: Corrections) -> Iterator[Any]:
    def outputs() -> Iterator[Any]:
        yield corrections.applied(sources)
        yield TaggedOutput(_USED, corrections.used(sources))

    return failures.handed_on(outputs())


def _unused(corrections: Corrections, used: Iterable[Batch[str]], failed: Iterable[str]) -> Iterator[str]:
    # Images that no step has looked at are not missing.
    if not any(failed) and (sentence := corrections.unused(itertools.chain.from_iterable(used))):
        yield sentence


def _read_rows(table: Table, options: ConvertOptions) -> Iterator[Any]:
    """CSV -> rows, rejected ones among them, since the files that they name are listed; and the number of rows."""
    num_rows = 0

    def counted() -> Iterator[Row | Reject]:
        nonlocal num_rows
        for row in rows.read_rows(options, table):
            num_rows += 1
            yield row

    yield from failures.handed_on(counted())
    yield TaggedOutput(_ROWS_READ, num_rows)


def _num_bytes(row: Row | Reject) -> int:
    return len(row.labels if isinstance(row, Row) else row.detail)


def _listing_parts(folder: str, options: ConvertOptions, csvs: Sequence[str], version: str) -> Iterator[Any]:
    """Folder -> parts of its listing. The only element of the first step: a worker checks here what it may do."""

    def parts() -> Iterator[storage.Part]:
        workers.check(options.incomplete, version, _PACKAGE)
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
    # All rows of a file are in its bucket.
    differing = {reject.filename for reject in rejects if matching.differs_in_labels_alone(reject)}
    yield TaggedOutput(_COUNTS, Counts(num_merged, len(differing)))
