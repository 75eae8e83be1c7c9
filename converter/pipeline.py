r"""The Beam job.

Image bytes never cross a shuffle: what is grouped are rows, and one task reads the images of one shard and writes it.

  CSV text -> rows ----\                                             /-> results -\
                        join by name -> (shard, [row]) -> write ----<              >-- reconcile, publish
  folder listing ------/      |                       whole shard    \-> rejects -/
   (name, size)               `-> rejects
"""

import contextlib
import datetime
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, TaggedOutput

import schemas
from converter import assignment, images, progress, rows, runners, shards, storage
from converter.commit import FAILURE, Outcome, commit, read_failure
from converter.options import ConvertOptions
from converter.origin import Source
from converter.rejects import Reason, Reject
from converter.rows import Row
from converter.shards import ShardResult
from converter.table import Table, composed, read_tables
from schemas import layout
from schemas.errors import UserError
from schemas.metadata import DatasetInfo

_REJECTS = "rejects"
_ROWS_READ = "rows_read"
_UNLISTED = "unlisted"


def convert(options: ConvertOptions, beam_options: PipelineOptions | None = None) -> DatasetInfo | None:
    """Converts a CSV and its images to a dataset.

    Args:
        options: what to convert, and how.
        beam_options: the runner and its options; by default the job runs in this process.

    Returns:
        The dataset; None when the job was only described (`--template_location`, `--dry_run`) or left running.

    Raises:
        UserError: the input or the options are at fault. Nothing is published.
        OSError: the output cannot be written. Nothing is published.
    """
    beam_options = beam_options or PipelineOptions([])
    runner = runners.runner(beam_options)
    runners.check_paths(beam_options, {"csv": options.csv, "images": options.images, "output": options.output})
    for path in (options.csv, options.images, options.output):
        storage.check(path)
    tables = read_tables(options)
    _check_folders(options)
    if not runners.is_only_described(beam_options):
        # What an earlier run left is no dataset, and not why this one fails; its finished shards are kept.
        for name in (layout.MANIFEST, FAILURE):
            storage.delete(f"{options.incomplete}/{name}")
        storage.make_folder(options.incomplete)  # If it cannot be made, that is better known now.
    here = runners.runs_here(beam_options)
    with tempfile.TemporaryDirectory() as staged, progress.bar() if here else contextlib.nullcontext():
        runners.stage(beam_options, staged)
        pipeline = beam.Pipeline(runner=runner, options=beam_options)
        build(pipeline, options, tables)
        try:
            result = pipeline.run()
            if runners.is_only_described(beam_options):
                return None
            result.wait_until_finish()
        except Exception as error:
            raise _original(error) if here else UserError(f"The job failed: {error}") from error
    failure = read_failure(options)
    if failure:
        raise UserError(failure)
    return DatasetInfo.from_json(storage.read(f"{options.dataset}/{layout.MANIFEST}").decode())


def _original(error: Exception) -> BaseException:
    """Returns what was raised in a step of the job, without what a runner in this process adds to it."""
    cause: BaseException | None = error
    while cause:
        # Beam raises it once more, marked, with the name of the step behind the message.
        if isinstance(cause, UserError | OSError | KeyboardInterrupt) and not getattr(
            cause, "_tagged_with_step", False
        ):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def build(pipeline: beam.Pipeline, options: ConvertOptions, tables: Sequence[Table]) -> None:
    """Adds all steps of a conversion to a pipeline."""
    read = (
        pipeline
        | "Csv" >> beam.Create(tables)
        | "ReadRows" >> beam.ParDo(_ReadRows(options)).with_outputs(_REJECTS, _ROWS_READ, main="rows")
    )  # Row
    files = (
        pipeline
        | "Images" >> beam.Create([options.images])
        | "ListFiles" >> beam.FlatMap(storage.list_files)
        | "KeyFiles" >> beam.Map(lambda file: (composed(file.name), file))
    )  # (filename, File)
    matched = (
        {"rows": read.rows | "KeyRows" >> beam.Map(lambda row: (row.filename, row)), "files": files}
        | "JoinByName" >> beam.CoGroupByKey()  # (filename, {"rows": [Row], "files": [File]})
        | "Match" >> beam.ParDo(_match).with_outputs(_REJECTS, _UNLISTED, main="sources")
    )  # Source
    sizes = (
        matched.sources
        | "Sizes" >> beam.Map(lambda source: (source.row.split, (1, source.file.size)))
        | "SumSizes" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
        | "PlanShards" >> beam.Map(_plan, options)
    )  # (split, number of shards)
    results = (
        matched.sources
        | "AssignShards" >> beam.Map(_assign, AsDict(sizes))  # ((split, shard, number of shards), Source)
        | "GroupByShard" >> beam.GroupByKey()  # (shard, [Source])
        | "WriteShards" >> beam.Map(_write, options)
    )  # ShardResult
    rejects = (read[_REJECTS], matched[_REJECTS]) | "Rejects" >> beam.Flatten()  # Reject
    num_rows = read[_ROWS_READ] | "CountRows" >> beam.CombineGlobally(sum)  # int
    # The last step gets a table and not its tuple of classes, in which Beam would look at the type of each.
    _ = (
        pipeline
        | "Start" >> beam.Create([_description(options)])
        | "Commit"
        >> beam.Map(
            _commit,
            options,
            tables[0],
            AsIter(results),
            AsIter(rejects),
            AsSingleton(num_rows),
            AsIter(matched[_UNLISTED]),
        )
    )


class _ReadRows(beam.DoFn):
    """CSV -> rows, and beside them rejects and the number of both, counted where they are read."""

    def __init__(self, options: ConvertOptions):
        self._options = options

    def process(self, table: Table) -> Iterator[Any]:
        num_rows = 0
        for row in rows.read_rows(self._options, table):
            num_rows += 1
            yield TaggedOutput(_REJECTS, row) if isinstance(row, Reject) else row
        yield TaggedOutput(_ROWS_READ, num_rows)


def _match(joined: tuple[str, Mapping[str, Iterable[Any]]]) -> Iterator[Any]:
    """Rows and files of one name -> at most one Source; rejects for all other rows; files that no row names."""
    candidates: list[Row] = sorted(joined[1]["rows"])
    files: list[storage.File] = sorted(joined[1]["files"], key=lambda file: file.path)
    # Two files may have one name, in composed and in decomposed characters: rows can name only the first.
    for file in files[1 if candidates else 0 :]:
        yield TaggedOutput(_UNLISTED, file.name)
    conflicts = [_reject(row, Reason.CONFLICTING_ROWS, detail) for row, detail in rows.conflicts(candidates)]
    yield from conflicts
    if conflicts or not candidates:
        return
    first, *others = candidates
    for row in others:
        detail = f"{rows.place(first, row)} says the same; that line was kept"
        yield _reject(row, Reason.DUPLICATE_NAME, detail)
    if not files:
        yield _reject(first, Reason.MISSING_FILE, "no such file in the folder of images")
    elif not files[0].inside:
        yield _reject(first, Reason.UNSAFE_PATH, "a symbolic link that leads out of the folder of images")
    elif not files[0].size:
        yield _reject(first, Reason.EMPTY_FILE, "the file has 0 bytes")
    else:
        yield Source(first, files[0])


def _reject(row: Row, reason: Reason, detail: str) -> TaggedOutput:
    return TaggedOutput(_REJECTS, Reject(row.csv, row.line, row.filename, reason, detail))


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


def _write(group: tuple[tuple[str, int, int], Iterable[Source]], options: ConvertOptions) -> ShardResult:
    (split, index, num_shards), sources = group
    return shards.write_shard(
        options.incomplete,
        published=options.dataset,
        split=split,
        index=index,
        num_shards=num_shards,
        sources=sources,
        preparation=images.Preparation(max_pixels=options.max_pixels, resize_shorter=options.resize_shorter),
        num_threads=options.num_threads,
    )


def _commit(
    conversion: dict[str, Any],
    options: ConvertOptions,
    table: Table,
    results: Iterable[ShardResult],
    rejects: Iterable[Reject],
    num_rows: int,
    unlisted: Iterable[str],
) -> None:
    outcome = Outcome.of(results=results, rejects=rejects, num_rows=num_rows, unlisted=unlisted)
    commit(options, table.classes, outcome, {**conversion, "finished": _now()})


def _description(options: ConvertOptions) -> dict[str, Any]:
    """What is noted of a run beside the data, which say nothing of when and where they were made."""
    return {
        "started": _now(),
        "csv": options.csv,
        "images": options.images,
        "splits": {name: str(fraction) for name, fraction in options.splits} or {"column": options.split_column},
        "versions": {
            "multihot": schemas.__version__,
            "python": platform.python_version(),
            "apache-beam": beam.__version__,
            "tensorflow": tf.__version__,
        },
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _check_folders(options: ConvertOptions) -> None:
    """Finds what can be found wrong before any work is done."""
    if storage.is_local(options.images) and not storage.exists(f"{options.images}/."):  # A file has no ".".
        raise UserError(f"--images: there is no folder {options.images}")
    storage.restore(options.dataset, last=layout.MANIFEST, aside=layout.replaced_dir(options.dataset))
    is_dataset = storage.exists(f"{options.dataset}/{layout.MANIFEST}")
    if is_dataset and not options.overwrite:
        raise UserError(
            f"{options.dataset} is a dataset already. Choose another --version or --output, or replace it: --overwrite"
        )
    if storage.is_local(options.dataset) and storage.exists(options.dataset) and not is_dataset:
        raise UserError(f"{options.dataset} exists and is not a dataset of multihot. Choose another --output.")
