"""Measures input pipelines side by side: `scripts/bench_input` runs it, docs/benchmarks.md says what each row is.

Every pipeline runs in a process that stays alive (readers/), and in each round all of them read the same images, one
after the other. Before the first round each is checked: it must give every image once, with its labels.

A loop in Python reads the batches, as the tutorial's user does; peers without a graph allow nothing else. For cached
epochs, `whole epochs` also makes a new iterator in each epoch, as Keras does, and counts all of its time.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from multihot.errors import UserError
from multihot.quiet import quiet

with quiet():
    import backbone
    import input_rows
    import report
    import same_images
    from input_rows import FIRST_224, ROWS, Row
    from report import Measurement
    from rounds import measure
    from same_images import SameImages

_PACKAGES = ("tensorflow", "keras", "numpy", "pandas")
_BACKBONE = "backbone"


def main() -> None:
    """The command line."""
    flags = _parse()
    try:
        with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
            _bench(flags, Path(folder))
    except UserError as error:
        sys.exit(f"error: {error}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench_input", description="Measures input pipelines side by side.")
    parser.add_argument("--data", help="folder of a dataset, whose split `train` is read; by default one is made:")
    parser.add_argument("--csv", help="of images to convert; by default those of MIML_DATASET, or drawn ones")
    parser.add_argument("--images", help="folder of images to convert")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="that a round of a pipeline takes at least, nearly")
    parser.add_argument("--peers", action="store_true", help="with DALI, WebDataset and Grain as well")
    parser.add_argument("--sizes", default="32,224", help="32, 224 or both")
    parser.add_argument("--only", default="", help=f"only rows that have one of these in their names, and {_BACKBONE}")
    parser.add_argument("--vgg16_weights", default="none", help="file of VGG16's weights without its top")
    parser.add_argument("--timeout", type=float, default=120, help="seconds after which a reader is killed")
    parser.add_argument("--folder", help="for temporary files")
    parser.add_argument("--json", help="file to write everything to")
    parser.add_argument("--plot", help="picture to write, NAME.png: each table has one, NAME-TABLE.png")
    flags = parser.parse_args()
    if bool(flags.csv) != bool(flags.images):
        parser.error("--csv and --images go together")
    if flags.rounds < 1:
        parser.error(f"--rounds must be at least 1. Received: {flags.rounds}")
    return flags


def _bench(flags: argparse.Namespace, folder: Path) -> None:
    rows, measured = _rows(flags), {}
    if not flags.data and not flags.csv:
        flags.csv, flags.images = same_images.default(folder)
    if rows:
        images = _prepare(flags, folder / "all", "train=1")
        limits = {"rounds": flags.rounds, "seconds": flags.seconds, "timeout_seconds": flags.timeout}
        measured = measure(rows, images, **limits)
        _print_tables(measured, rows, images)
    ratios = input_rows.ratios(measured)
    if _wanted(_BACKBONE, flags):
        split = _prepare(flags, folder / "split", "train=0.8,validation=0.2")
        if "validation" in split.splits:
            trainings = _train(split, flags.vgg16_weights, folder / "run")
            ratios["frozen_backbone_over_tutorial"] = report.ratio(*trainings)
            measured |= {one.name: one for one in trainings}
        else:
            print(f"\n{split.dataset} has no split `validation`, and so no training is measured.")
    print("\n" + "\n".join(f"{name:40} {report.number(value)}" for name, value in ratios.items()))
    if flags.json:
        report.write_json(flags.json, list(measured.values()), ratios, report.machine(_PACKAGES))
    if flags.plot:
        _plot(Path(flags.plot), measured, rows)


def _rows(flags: argparse.Namespace) -> list[Row]:
    """Returns the rows that were asked for."""
    return [
        row
        for row in ROWS
        if (flags.peers or not row.optional)
        and ("224" if row.table == FIRST_224 else "32") in flags.sizes.split(",")
        and _wanted(row.full_name, flags)
    ]


def _wanted(name: str, flags: argparse.Namespace) -> bool:
    return any(part in name for part in flags.only.split(","))


def _prepare(flags: argparse.Namespace, folder: Path, splits: str) -> SameImages:
    folder.mkdir()
    dataset = flags.data or same_images.convert(flags.csv, flags.images, folder, splits)
    return same_images.unpack(dataset, folder)


def _train(images: SameImages, weights: str, output: Path) -> tuple[Measurement, Measurement]:
    """Runs both trainings and prints them; returns the seconds of their epochs, the tutorial's first."""
    print("\nTraining ten epochs of a frozen VGG16, the tutorial's code and ours ...\n", flush=True)
    tutorial, ours = backbone.tutorial(images, weights), backbone.ours(images, weights, output)
    print(report.table([tutorial.seconds, ours.seconds]))
    for name, training in (("tutorial", tutorial), ("ours", ours)):
        for what, curve in (("loss", training.loss), ("validation loss", training.validation_loss)):
            print(f"{name:9} {what:16}" + "".join(f" {loss:.4f}" for loss in curve))
    return tutorial.seconds, ours.seconds


def _print_tables(measured: Mapping[str, Measurement], rows: Sequence[Row], images: SameImages) -> None:
    for title, measurements, references in input_rows.tables(measured, rows).values():
        print(f"\n{title}; {images.num_images} images\n\n{report.table(measurements, references)}")
    for ratio, peer in input_rows.best_peers(measured).items():
        print(f"\n{ratio}: the fastest peer is {peer.name.rpartition(': ')[2]}.")


def _plot(path: Path, measured: Mapping[str, Measurement], rows: Sequence[Row]) -> None:
    for table, (title, measurements, _) in input_rows.tables(measured, rows).items():
        report.plot(measurements, path.with_stem(f"{path.stem}-{table.replace(' ', '-')}"), title)


if __name__ == "__main__":
    main()
