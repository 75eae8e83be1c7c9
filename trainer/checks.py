"""Checks a run by the manifests of its datasets, before anything is read."""

import posixpath
from collections.abc import Iterator

from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.sources import Sources


def check_overlap(config: TrainConfig, data: Sources) -> None:
    """Checks that the model is not evaluated on examples that it is trained on.

    Raises:
        UserError: a shard of the training split of one dataset has the bytes of one of the validation split of another.
    """
    train = dict(_shards(data, config.train_split))
    for sha256, path in _shards(data, config.validation_split):
        if sha256 in train:
            raise UserError(
                f"--data: {train[sha256]} and {path} hold the same examples, so that the model would be evaluated on "
                "examples that it was trained on. Leave one of the datasets out, or name other splits."
            )


def _shards(data: Sources, split: str) -> Iterator[tuple[str, str]]:
    """Yields the digest and the path of each shard of a split that is not empty: all empty files are the same."""
    for source in data.each:
        for shard in source.info.split(split).shards:
            if shard.num_examples:
                yield shard.sha256, posixpath.join(source.directory, shard.path)


def warnings(config: TrainConfig, data: Sources) -> list[str]:
    """Returns warnings that matter for the results of a run, a line each."""
    return [*_leaks(data), *_exclusive(config, data), *_undefined(config, data)]


def _leaks(data: Sources) -> Iterator[str]:
    for source in data.each:
        images, groups = (source.info.leaks.get(name, 0) for name in ("num_images", "num_groups"))
        if groups:
            yield (
                f"{source.directory}: {images} images that are the same or nearly the same, in {groups} groups, are in "
                "several splits (duplicates.csv lists them): metrics of the validation split may be too good. "
                "Converting with --group_near_duplicates keeps them together."
            )


def _exclusive(config: TrainConfig, data: Sources) -> Iterator[str]:
    """Yields a line if a softmax is trained on images with several labels, or with none."""
    statistics = data.split(config.train_split).statistics
    labels, images = sum(statistics.positives), statistics.num_examples
    if config.loss == "categorical_crossentropy" and labels != images:
        yield (
            f"--loss=categorical_crossentropy needs one label for each image, but the {images} images of the split "
            f"{config.train_split!r} have {labels} labels: some have {'several' if labels > images else 'none'}. "
            "--loss=binary_crossentropy is the loss for such labels."
        )


def _undefined(config: TrainConfig, data: Sources) -> Iterator[str]:
    """Yields a line if no class has an average precision."""
    statistics = data.split(config.validation_split).statistics
    if not any(0 < positives < statistics.num_examples for positives in statistics.positives):
        yield (
            f"Every class is a label of all images or of no image in the split {config.validation_split!r}: "
            "the mean average precision is undefined."
        )
