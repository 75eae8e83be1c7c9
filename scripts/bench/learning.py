"""Measures how long trainings take to learn: `scripts/bench_learning` runs it, docs/benchmarks.md describes it.

Each training is a whole process, timed from the start of its command. For each seed all run, one after the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import learning_rows
import report
import same_images
import training_process
from learning_rows import CONTENDERS, FIGURES, Contender, Result, Results
from multihot.errors import UserError
from reader_process import ReaderError
from same_images import SameImages
from schemas import example, metadata
from training_process import TrainingError

_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn")


def main() -> None:
    """The command line."""
    flags = _parse()
    try:
        with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
            _bench(flags, Path(folder))
    except UserError as error:
        sys.exit(f"error: {error}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench_learning", description="Measures how long trainings take.")
    parser.add_argument("dataset", nargs="?", help="with the splits `train` and `validation`; by default one is made:")
    parser.add_argument("--csv", help="of images to convert; by default those of MIML_DATASET, or drawn ones")
    parser.add_argument("--images", help="folder of images to convert")
    parser.add_argument("--until", type=float, default=0.88, help="mean average precision that is waited for")
    parser.add_argument("--to_the_end", action="store_true", help="do not stop a training there")
    parser.add_argument("--seeds", type=_seeds, default=(0,), help="one or more, as in 0,1,2")
    parser.add_argument("--only", default="", help="only rows that have one of these in their names")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds after which a training is killed")
    parser.add_argument("--folder", help="for temporary files")
    parser.add_argument("--json", help="file to write everything to")
    flags = parser.parse_args()
    if bool(flags.csv) != bool(flags.images):
        parser.error("--csv and --images go together")
    return flags


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(seed) for seed in text.split(","))


def _bench(flags: argparse.Namespace, folder: Path) -> None:
    contenders = [one for one in CONTENDERS if any(part in one.name for part in flags.only.split(","))]
    results = measure(
        contenders,
        _prepare(flags, folder),
        folder,
        seeds=flags.seeds,
        until=flags.until,
        to_the_end=flags.to_the_end,
        timeout_seconds=flags.timeout,
    )
    found = learning_rows.ratios(results, flags.until)
    if results:
        seeds = f"Seeds {','.join(map(str, flags.seeds))}: mean (lowest..highest); metrics after the last epoch"
        print(f"\n{seeds}\n\n{learning_rows.table(results, flags.until)}\n")
    for name, value in found.items():
        print(f"{name:40} {report.number(value)}")
    if flags.json:
        write_json(flags.json, results, found, flags.until)


def _prepare(flags: argparse.Namespace, folder: Path) -> SameImages:
    """Returns the images that all trainings read.

    Raises:
        UserError: a split is missing, or there are unknown labels, which the plain script does not mask.
    """
    dataset = flags.dataset
    if not dataset:
        table, images = (flags.csv, flags.images) if flags.csv else same_images.default(folder)
        dataset = same_images.convert(table, images, folder, "train=0.8,validation=0.2")
    info = metadata.load(dataset)
    if missing := {"train", "validation"} - {split.name for split in info.splits}:
        raise UserError(f"{dataset} has no split {' and no split '.join(sorted(missing))}")
    if info.has_unknown:
        raise UserError(f"{dataset} has unknown labels ({example.KNOWN}), which the plain script does not leave out.")
    (folder / "forms").mkdir()
    return same_images.unpack(dataset, folder / "forms")


def measure(
    contenders: Sequence[Contender],
    images: SameImages,
    folder: Path,
    *,
    seeds: Sequence[int],
    until: float,
    to_the_end: bool = False,
    timeout_seconds: float,
) -> dict[str, list[Result]]:
    """Runs all trainings, and prints each when it has ended, and which could not be measured, and why.

    Args:
        contenders: to run for each seed, one after the other.
        images: that all of them read.
        folder: for what they write.
        seeds: of the trainings.
        until: mean average precision of the validation split that is waited for.
        to_the_end: whether trainings are not stopped there.
        timeout_seconds: after which a training is killed.

    Returns:
        The results of each contender that did not fail, by its name.
    """
    results: dict[str, list[Result]] = {one.name: [] for one in contenders}
    for seed in seeds:
        for one in contenders:
            if one.name not in results:
                continue
            try:
                with tempfile.TemporaryDirectory(dir=folder) as output:
                    command = one.command(images, seed, Path(output))
                    if seed == seeds[0]:
                        _warm_up(command[0], one.modules)
                    training = training_process.run(
                        command,
                        same_images.environment(),
                        until=None if to_the_end else until,
                        timeout_seconds=timeout_seconds,
                    )
                    whole = None if training.seconds is None else one.evaluate(images, Path(output))
            except (ReaderError, TrainingError) as error:
                print(f"not measured: {one.name}: {error}", flush=True)
                del results[one.name]
                continue
            evaluation = None if whole is None else {name: whole[name] for name in FIGURES}
            results[one.name].append(Result(seed, training, evaluation))
            print(learning_rows.line(one.name, results[one.name][-1], until), flush=True)
    return results


def _warm_up(python: str | Path, modules: str) -> None:
    """Imports modules, so that their files come from memory with the first seed as with all others."""
    command = [python, "-c", f"import os, {modules}; os._exit(0)"]
    # If it fails, so does the training, and says why.
    subprocess.run(command, env=same_images.environment(), capture_output=True, check=False)


def write_json(path: str, results: Results, ratios: Mapping[str, float], until: float) -> None:
    """Writes all that was measured, with every epoch."""
    trainings = [
        {
            "name": name,
            "seed": one.seed,
            "seconds_to_target": one.training.seconds_to(until),
            "seconds": one.training.seconds,
            "epochs": [epoch._asdict() for epoch in one.training.epochs],
            "evaluation": one.evaluation,
        }
        for name, of_one in results.items()
        for one in of_one
    ]
    document = {"machine": report.machine(_PACKAGES), "until": until, "ratios": ratios, "trainings": trainings}
    Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
