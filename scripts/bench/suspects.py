"""Measures how many wrong labels are found: `scripts/bench_suspects` runs it, docs/suspects.md has the figures.

For each share, rule and seed: labels of a CSV are flipped (flipped.py), the CSV is converted, a model is trained on it,
and the first suspects of the run, as many as labels were flipped, are compared with the flipped labels. Each step is
the command that a user would run.

With --accept, all suspects are accepted: the CSV is converted with them as corrections, and models are trained on the
corrected dataset and on one of the right labels. All models are evaluated with the right labels.
"""

import argparse
import csv
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import flipped
import same_images
from multihot.errors import UserError
from schemas.corrections import COLUMNS

_SPLITS = "train=0.8,validation=0.2"


class Found(NamedTuple):
    """The figures of one training.

    Attributes:
        share: of the labels that were flipped.
        rule: by which they were chosen.
        seed: of the choice, and of the training.
        precision: share of flipped labels among as many suspects.
        recall: share of the flipped labels that are among them.
        loss: of mean average precision on the right labels by a training on the corrected labels in place of the right
            ones; None if it was not measured.
        loss_uncorrected: the same of a training on the flipped labels.
    """

    share: float
    rule: str
    seed: int
    precision: float
    recall: float
    loss: float | None = None
    loss_uncorrected: float | None = None


def main() -> None:
    """The command line."""
    flags = _parse()
    results = []
    if flags.folder:
        Path(flags.folder).mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
            table, images = (flags.csv, flags.images) if flags.csv else same_images.default(Path(folder))
            for i, (share, rule, seed) in enumerate(itertools.product(flags.shares, flags.rules, flags.seeds)):
                (own := Path(folder, str(i))).mkdir()
                results.append(measure(table, images, own, share, rule, seed, flags.flag, accept=flags.accept))
                print(line(results[-1]), flush=True)
    except UserError as error:
        sys.exit(f"error: {error}")
    print()
    for text in means(results):
        print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench_suspects", description="Measures how wrong labels are found.")
    parser.add_argument("--csv", help="table of right labels; by default that of MIML_DATASET, or a drawn one")
    parser.add_argument("--images", help="folder of its images")
    parser.add_argument("--shares", type=_numbers(float), default=(0.05,), help="of the labels that are flipped")
    parser.add_argument("--rules", type=_numbers(str), default=("random",), help=" or ".join(flipped.RULES))
    parser.add_argument("--seeds", type=_numbers(int), default=(0, 1, 2), help="one or more, as in 0,1,2")
    parser.add_argument(
        "--flag", action="append", default=[], help="of the trainer, as in --flag=--epochs=3; else --weights=imagenet"
    )
    parser.add_argument(
        "--accept", action="store_true", help="accept all suspects, and train on the corrected and on the right labels"
    )
    parser.add_argument("--folder", help="for temporary files")
    flags = parser.parse_args()
    if bool(flags.csv) != bool(flags.images):
        parser.error("--csv and --images go together")
    if unknown := set(flags.rules) - set(flipped.RULES):
        parser.error(f"--rules must be of {', '.join(flipped.RULES)}. Received: {', '.join(sorted(unknown))}")
    return flags


def _numbers(kind: Callable[[str], object]) -> Callable[[str], tuple[object, ...]]:
    return lambda text: tuple(kind(part) for part in text.split(","))


def measure(
    table: str,
    images: str,
    folder: Path,
    share: float,
    rule: str,
    seed: int,
    flags: Sequence[str] = (),
    *,
    accept: bool = False,
) -> Found:
    """Flips labels, converts, trains, and looks for the flipped labels.

    Args:
        table: path of the CSV with the right labels.
        images: folder of its images.
        folder: for all files.
        share: of the labels that are flipped.
        rule: by which they are chosen.
        seed: of the choice, and of the training.
        flags: of the trainer.
        accept: whether all suspects are accepted, and models trained on the corrected and on the right labels.

    Raises:
        UserError: one of the programs has failed.
    """
    right = flipped.read(table)
    wrong = right._replace(labels=flipped.flip(right.labels, share, seed, rule))
    flipped.write(folder / "labels.csv", wrong)
    dataset = same_images.convert(str(folder / "labels.csv"), images, folder, _SPLITS)
    run = _train(dataset, folder / "run", seed, flags)
    _run("trainer.suspects", f"--run={run}", "--review=0")
    with open(run / "suspects" / "suspects.csv", newline="", encoding="utf-8") as file:
        suspects = [(row["filename"], row["class"]) for row in csv.DictReader(file)]
    cells = zip(*(right.labels != wrong.labels).nonzero(), strict=True)
    flips = [(right.names[row], right.header[1 + column]) for row, column in cells]
    found = Found(share, rule, seed, *flipped.precision_and_recall(flips, suspects))
    if not accept:
        return found
    (folder / "right").mkdir()
    clean = same_images.convert(table, images, folder / "right", _SPLITS)
    best = _average_precision(_train(clean, folder / "run_right", seed, flags), clean)
    before = _average_precision(run, clean)
    # As the page of suspects does for labels that are accepted.
    correct = f"--corrections={folder}/corrections.csv"
    _accept(run / "suspects" / "suspects.csv", folder / "corrections.csv")
    same_images.convert(str(folder / "labels.csv"), images, folder, _SPLITS, "--overwrite", correct)
    corrected = _train(dataset, folder / "run_corrected", seed, flags)
    return found._replace(loss=best - _average_precision(corrected, clean), loss_uncorrected=best - before)


def _train(dataset: str, run: Path, seed: int, flags: Sequence[str]) -> Path:
    _run("trainer", f"--data={dataset}", f"--output={run}", f"--seed={seed}", *(flags or ["--weights=imagenet"]))
    return run


def _average_precision(run: Path, dataset: str) -> float:
    """Returns the mean average precision of a run on the validation split of a dataset."""
    output = run / "with_right_labels"
    _run("trainer.evaluate", f"--run={run}", f"--data={dataset}", "--split=validation", f"--output={output}")
    found: float = json.loads((output / "evaluation.json").read_text())["headline"]["mean_average_precision"]["value"]
    return found


def _accept(suspects: Path, corrections: Path) -> None:
    """Writes corrections for all suspects."""
    with suspects.open(newline="", encoding="utf-8") as source, corrections.open("w", newline="") as file:
        rows = ((row["filename"], row["class"], row["given"], row["suggested"]) for row in csv.DictReader(source))
        csv.writer(file).writerows([COLUMNS, *rows])


def _run(*arguments: str) -> None:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=same_images.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{done.stderr}\n{' '.join(command)} has failed.")


def line(one: Found) -> str:
    """Returns the figures of a training as a line."""
    text = f"{one.share:.0%} {one.rule}, seed {one.seed}: precision {one.precision:.3f}, recall {one.recall:.3f}"
    if one.loss is not None:
        text += f"; mean average precision lost: {one.loss:.4f}, without corrections {one.loss_uncorrected:.4f}"
    return text


def means(results: Iterable[Found]) -> list[str]:
    """Returns a line for each share and rule: mean and standard deviation over its seeds."""
    groups: dict[tuple[float, str], list[Found]] = {}
    for one in results:
        groups.setdefault((one.share, one.rule), []).append(one)
    return [_mean_line(share, rule, group) for (share, rule), group in groups.items()]


def _mean_line(share: float, rule: str, group: Sequence[Found]) -> str:
    text = f"{share:.0%} {rule}: precision {_mean([one.precision for one in group])}, "
    text += f"recall {_mean([one.recall for one in group])} ({len(group)} seeds)"
    losses = [one.loss for one in group if one.loss is not None]
    before = [one.loss_uncorrected for one in group if one.loss_uncorrected is not None]
    if losses:
        text += f"; mean average precision lost: {_mean(losses, 4)}, without corrections {_mean(before, 4)}"
    return text


def _mean(values: Sequence[float], digits: int = 3) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
