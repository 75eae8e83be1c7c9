"""`python -m trainer.embed --run=RUN --data=DATASET`: features of all images with their names, as Parquet.

The features find images that are alike: `--neighbours_of` draws the nearest ones of an image, and
`python -m converter --duplicates_by` finds mirrored, turned and cropped copies.
"""

import dataclasses
import functools
from dataclasses import field
from typing import TYPE_CHECKING, Any

from multihot import command, flags, native_stderr, storage
from multihot.errors import UserError
from multihot.printable import printable
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage

if TYPE_CHECKING:
    from trainer.embedding.computing import Embedder
    from trainer.finished_run import FinishedRun
    from trainer.sources import Sources

# Neighbours of a picture, and images that have some.
_MOST_NEIGHBOURS, _MOST_IMAGES = 30, 50
# Rows of a row group: 10 MB.
_GROUP = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """The settings of a file of features."""

    run: str = field(metadata=setting("Folder of the finished run whose model computes the features.", value="RUN"))
    data: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Folder of a dataset, with any classes. Repeat it for several. Default: those of the run.",
            value="DATASET",
            repeated=True,
        ),
    )
    output: str = field(
        default="embeddings.parquet",
        metadata=setting("File for the features, on this machine or in a store.", value="FILE"),
    )
    neighbours_of: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Name of an image. Draws the images most like it; the picture is beside --output. Repeat it for several.",
            value="NAME",
            repeated=True,
        ),
    )
    neighbours: int = field(default=8, metadata=setting("Images to draw beside each of them.", value="N"))
    overwrite: bool = field(default=False, metadata=setting("Replace the file that is in --output."))

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            UserError: a setting cannot be used.
        """
        storage.check(self.output)
        if not self.output.endswith(".parquet"):
            raise UserError(f"--output must end with .parquet. Received: {self.output!r}")
        if not 1 <= self.neighbours <= _MOST_NEIGHBOURS:
            raise UserError(f"--neighbours must be from 1 to {_MOST_NEIGHBOURS}. Received: {self.neighbours}")
        if len(self.neighbours_of) > _MOST_IMAGES:
            raise UserError(f"--neighbours_of takes {_MOST_IMAGES} images at most. Received: {len(self.neighbours_of)}")

    @property
    def picture(self) -> str:
        """The file of the picture of neighbours."""
        return f"{self.output.removesuffix('.parquet')}.neighbours.png"


USAGE = Usage(
    module="trainer.embed",
    description="Writes features of all images of datasets, by which images that are alike are found.",
    example="--run=runs/first --output=embeddings.parquet --neighbours_of=381.jpg",
    settings=(EmbedOptions,),
)


def main(options: EmbedOptions) -> None:
    """Writes the features that are not there yet, and draws neighbours."""
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from trainer import finished_run, sources
        from trainer.embedding import computing
    native_stderr.filter_libjpeg()
    run = finished_run.find(options.run)
    # One by one, since the datasets need not have the same classes.
    alone = [sources.combine([dataset], cache=run.config.cache_folder) for dataset in run.datasets(options.data)]
    whole = sources.Sources(classes=(), each=tuple(one.each[0] for one in alone))
    splits = {split.name for source in whole.each for split in source.info.splits}
    with sources.damaged_shards_named(whole, splits):
        made_from = _made_from(run, whole)
        if _is_there(options, made_from):
            print(f"The features are there already: {printable(options.output)}")
        else:
            _write(options, computing.Embedder(run), whole, made_from)
        if options.neighbours_of:
            _draw(options, whole)


def _made_from(run: "FinishedRun", data: "Sources") -> dict[str, Any]:
    """Returns all that decides which features there are, for the metadata of the file."""
    return {
        "format_version": 1,
        "run": str(run.path),
        "model": run.config.model,
        "model_sha256": storage.sha256(str(run.model_path)),
        "image_size": run.info.image_size,
        "resize": run.info.resize,
        "datasets": [
            {"name": source.info.name, "version": source.info.version, "fingerprint": source.info.fingerprint}
            for source in data.each
        ],
    }


def _is_there(options: EmbedOptions, made_from: dict[str, Any]) -> bool:
    """Whether the file is there with these features.

    Raises:
        UserError: it has other features, and is not to be replaced.
    """
    from schemas import embeddings

    if options.overwrite or not storage.exists(options.output):
        return False
    found = embeddings.describe(options.output).made_from
    # The folder of a run may have been moved.
    if {**found, "run": ""} != {**made_from, "run": ""}:
        raise UserError(
            f"{options.output} exists, and has the features of another run or of other datasets. Choose another "
            "--output, or replace it: --overwrite"
        )
    return True


def _write(options: EmbedOptions, embedder: "Embedder", data: "Sources", made_from: dict[str, Any]) -> None:
    """Computes the features, and writes the file; it appears when it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from schemas import embeddings
    from trainer.prediction.progress import Progress

    num_images = sum(split.num_examples for source in data.each for split in source.info.splits)
    print(f"Computing {embedder.width} features of {num_images:,} images ...", flush=True)
    schema = embeddings.schema(embedder.width, made_from)
    progress, held = Progress(num_images, 0, "computing features"), list[pa.Table]()
    with (
        command.leaves(lambda: "No file was written: the same command begins again."),
        storage.create(options.output) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for columns in embedder.embed(data):
            held.append(embeddings.table(columns, schema))
            progress.advance(len(columns.filenames))
            if sum(map(len, held)) >= _GROUP:
                writer.write_table(pa.concat_tables(held))
                held.clear()
        if held:
            writer.write_table(pa.concat_tables(held))
    progress.close()
    print(f"{num_images:,} images, {progress.rate:.0f} images/s. Features: {printable(options.output)}")


def _draw(options: EmbedOptions, data: "Sources") -> None:
    """Draws the neighbours of images, and prints their names."""
    from trainer.embedding import neighbours, picture

    rows = neighbours.nearest(options.output, options.neighbours_of, options.neighbours)
    for one, *others in rows:
        print(f"Most like {printable(one.filename)} ({one.split}), with the distances of their features:")
        for other in others:
            print(f"  {other.distance:.3f} {printable(other.filename)} ({other.split})")
    splits = {one.filename: one.split for row in rows for one in row}
    picture.draw(rows, picture.read(data, splits), options.picture)
    print(f"Picture: {printable(options.picture)}")


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
