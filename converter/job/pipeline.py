"""Runs a conversion: checks the folders, runs the Beam job, and returns the resulting dataset."""

import contextlib
import functools
import importlib.metadata
import json
import platform
import posixpath
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner

import multihot
from converter.duplicates import embedded as by_features
from converter.duplicates import lookalikes, neighbours, turned
from converter.job import claims, commit, counting, embedded, graph, leftovers, publishing, sizing
from converter.options import ConvertOptions
from converter.shards import corrections, writing
from converter.shards.corrections import Corrections
from converter.system import processes, progress
from converter.table import rows
from converter.table.header import Table
from converter.table.tables import read_tables
from converter.text import argument
from multihot import command, machine, storage
from multihot.beam import engines, here, remote, runners
from multihot.errors import UserError
from schemas import embeddings, layout
from schemas.metadata import DatasetInfo

_WORDS = remote.Words(
    goes_on="publish the dataset",
    again="publishes nothing",
    graph="ReadRows counts rows and WriteShards finished shards",
)
# Modules of the functions that further processes run.
_MODULES = [each.__name__ for each in (writing, claims, neighbours, lookalikes, turned)]


def convert(
    options: ConvertOptions, beam_options: PipelineOptions | None = None, *, max_processes: int = 1
) -> DatasetInfo | None:
    """Converts a CSV and its images to a dataset.

    Args:
        options: of the conversion.
        beam_options: the runner and its options; by default the job runs in this process.
        max_processes: largest number of processes that write shards beside this one, where the files are on this
            machine; twice as many in stores. They are started only if the job runs here, and is large enough.
            Each imports the main module of the program, as always with `multiprocessing`: it must have an
            `if __name__ == "__main__"`.

    Returns:
        The dataset; None if the job was only described (`--template_location`, `--dry_run`) or left running.

    Raises:
        UserError: the input or the options are at fault. Nothing is published.
        OSError: the output cannot be written. Nothing is published.
    """
    beam_options = beam_options or PipelineOptions([])
    runner = runners.runner(beam_options)
    csvs = [path for _, path in options.csv_files]
    for path in filter(
        None, (*csvs, options.images, options.output, options.schema, options.corrections, options.duplicates_by)
    ):
        storage.check(path)
    paths = [*(("--csv", path) for path in csvs), ("--images", options.images), ("--output", options.output)]
    runners.check(beam_options, paths, options.name)
    engines.check(beam_options)
    with _hint(options):
        tables = read_tables(options)
        rows.check_splits(options, tables)
    corrected = corrections.read(options, tables[0].classes)
    if options.duplicates_by:
        embeddings.describe(options.duplicates_by)
    _check_input(options)
    described = runners.is_only_described(beam_options)
    job = None if runners.runs_here(beam_options) else remote.Job(beam_options, _WORDS)
    # Two conversions that write into one folder at the same time would mix their files.
    with contextlib.nullcontext() if described else publishing.locked(posixpath.dirname(options.dataset)):
        _check_output(options)
        if described:
            if runners.is_left_running(beam_options):
                _clear(options)  # The failure of an earlier job would be taken for the result of this one.
            return _run(options, beam_options, runner, tables, corrected, max_processes, "", job)
        run = uuid.uuid4().hex
        left = functools.partial(leftovers.describe, options, job)
        with claims.held(options.incomplete, run), command.leaves(left):
            _clear(options)
            return _run(options, beam_options, runner, tables, corrected, max_processes, run, job)


@contextlib.contextmanager
def _hint(options: ConvertOptions) -> Iterator[None]:
    """Adds to an error about the table how to see its columns. Command lines print the note below the error."""
    try:
        yield
    except UserError as error:
        if any(storage.exists(path) for _, pattern in options.csv_files for path in storage.match(pattern)):
            arguments = " ".join(map(argument, (options.csv, f"--images={options.images}")))
            error.add_note(
                f"To see its columns, and what other flags make of them: python -m converter.look {arguments}"
            )
        raise


def _run(
    options: ConvertOptions,
    beam_options: PipelineOptions,
    runner: PipelineRunner,
    tables: Sequence[Table],
    corrected: Corrections,
    max_processes: int,
    run: str,
    job: remote.Job | None,
) -> DatasetInfo | None:
    """Runs the job, and returns the dataset; None if the job was only described or left running."""
    num_rows = sizing.num_rows(tables)
    memory = sizing.memory_left(num_rows, machine.available_memory())
    num_parts = sizing.num_parts(num_rows, is_here=job is None)
    in_store = not all(map(storage.is_local, (options.images, options.output)))
    number = 1 if job else sizing.num_processes(num_rows, max_processes, memory, in_store=in_store)
    with (
        tempfile.TemporaryDirectory() as staged,
        contextlib.nullcontext() if job else progress.bar(),
        processes.started(number, memory, modules=_MODULES),
    ):
        runners.stage(beam_options, staged)
        runners.set_timeout(beam_options)
        pipeline = runners.pipeline(runner, beam_options)
        found = by_features.find(options.duplicates_by) if options.duplicates_by else None
        if found and job:
            embedded.check_size(options.duplicates_by, found)
        graph.build(
            pipeline,
            options,
            tables,
            corrected,
            num_rows,
            num_parts,
            _description(options),
            run,
            job is not None,
            found,
        )
        if job:
            job.run(pipeline, functools.partial(counting.progress, options=options))
        else:
            here.run(pipeline)
    if runners.is_only_described(beam_options):
        return None
    failure = commit.read_failure(options)
    if failure:
        raise UserError(failure)
    return DatasetInfo.from_json(storage.read(f"{options.dataset}/{layout.MANIFEST}").decode())


def _description(options: ConvertOptions) -> dict[str, Any]:
    """Returns the facts about this run for conversion.json: when, from what and with which versions it ran.

    They are kept apart from the data, which are the same whenever and wherever they are made.
    """
    return {
        "started": commit.now(),
        "csv": options.csv,
        "images": options.images,
        "schema": options.schema,
        "corrections": options.corrections,
        "split_method": options.split_method,
        "group_column": options.group_column,
        "group_pattern": options.group_pattern,
        "duplicates_by": options.duplicates_by,
        "group_near_duplicates": options.group_near_duplicates,
        "splits": _splits(options),
        "versions": {
            "multihot": multihot.__version__,
            "python": platform.python_version(),
            "apache-beam": beam.__version__,
            "tensorflow": importlib.metadata.version("tensorflow"),
        },
    }


def _splits(options: ConvertOptions) -> dict[str, str]:
    """Returns what decides the split of an image: fractions, a column, or the files of the table."""
    if options.split_column:
        return {"column": options.split_column}
    return {name: str(fraction) for name, fraction in options.splits} or dict(options.csv_files)


def _check_input(options: ConvertOptions) -> None:
    """Checks the paths of the input before any file is changed."""
    if storage.is_local(options.images) and not storage.exists(f"{options.images}/."):  # A file has no ".".
        raise UserError(f"--images: there is no folder {options.images}")
    # The first page of a listing, instead of a job that finds all images missing.
    if not storage.is_local(options.images) and not storage.folder_exists(options.images):
        raise UserError(f"--images: there is no file in {options.images}")
    for flag, path in (*(("csv", path) for _, path in options.csv_files), ("images", options.images)):
        for folder in options.folders:
            if storage.relative(path, folder) is not None:
                raise UserError(
                    f"--{flag}: {path} is in {folder}, which is replaced or deleted. Choose another --output."
                )


def _check_output(options: ConvertOptions) -> None:
    """Checks that the output can be published, before any work is done."""
    dataset, path = options.dataset, f"{options.dataset}/{layout.MANIFEST}"
    publishing.restore(dataset, commit_marker=layout.MANIFEST, backup=layout.replaced_dir(dataset))
    # A store answers after a while, so that it is asked for all of this at once.
    with storage.in_parallel(dataset) as threads:
        reading = threads.submit(storage.read_if_there, path)
        looking = [threads.submit(is_there, dataset) for is_there in (storage.exists, storage.folder_exists)]
    manifest = reading.result()
    if manifest is None:
        if any(each.result() for each in looking):
            raise UserError(f"{dataset} exists and is not a dataset of multihot. Choose another --output.")
    elif not publishing.is_mark(manifest):
        if _is_of_others(manifest):
            raise UserError(f"{path} is not a manifest of multihot. Choose another --output.")
        if not options.overwrite:
            raise UserError(
                f"{dataset} is a dataset already. Choose another --version or --output, or replace it: --overwrite"
            )


def _is_of_others(manifest: bytes) -> bool:
    """Whether a file is no manifest of ours. One that is damaged may be."""
    try:
        fields = json.loads(manifest)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and not {"format_version", "fingerprint", "splits", "classes"} & fields.keys()


def _clear(options: ConvertOptions) -> None:
    """Makes the incomplete folder, without the manifest or the failure that an earlier run may have left in it."""
    storage.delete_files([f"{options.incomplete}/{name}" for name in (layout.MANIFEST, commit.FAILURE)])
    storage.make_folder(options.incomplete)  # Fails now rather than after the work; finished shards in it are kept.
