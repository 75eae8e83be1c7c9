"""Tells how far `--decode=scaled` is from `--decode=exact`: `python scripts/bench/pixels.py DATASET [SPLIT]`."""

import sys

import numpy as np

from multihot.quiet import quiet

with quiet():
    from trainer import sources
    from trainer.config import TrainConfig
    from trainer.input import pipeline


def main() -> None:
    """Prints, for some sizes, the difference of the pixels: its mean, and its 99th percentile over the images."""
    directory, split = [*sys.argv[1:], "train"][:2]
    for size in (32, 64, 72, 224):
        differences = compare(directory, split, size)
        mean, high = differences.mean(), np.percentile(differences, 99)
        print(f"{size:4} pixels: {mean:.2f} of 255 levels on average, {high:.2f} at the 99th percentile of the images")


def compare(directory: str, split: str, size: int) -> np.ndarray:
    """Returns the mean difference of the pixels of each image, in levels from 0 to 255: float64 [n]."""
    pairs = []
    for decode in ("scaled", "exact"):
        config = TrainConfig(data=(directory,), output="none", decode=decode)
        pairs.append(pipeline.decoded_chunks(config, sources.load(config), split, size).as_numpy_iterator())
    return np.concatenate(
        [
            np.abs(one.astype(int) - other).mean(axis=(1, 2, 3))
            for (one, _), (other, _) in zip(*pairs, strict=True)
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
