"""Checks a run by the manifests of its datasets, before anything is read."""

import posixpath
from collections.abc import Iterator

from multihot import storage
from multihot.errors import UserError
from trainer import sources
from trainer.config import TrainConfig
from trainer.sources import Source, Sources

# The usual names of the two splits of a run, the likeliest first.
_USUAL_NAMES = {
    "train_split": ("train", "training"),
    "validation_split": ("validation", "val", "valid", "dev", "eval", "test", "testing"),
}


def load(config: TrainConfig) -> Sources:
    """Reads the manifests of the datasets of a run, and checks that there are examples to train and to evaluate on.

    Raises:
        UserError: a dataset cannot be used, a split has no example, or an example is in both splits.
    """
    data = sources.load(config)
    _check_served(config, data)
    _check_splits(config, data)
    _check_known(config, data)
    check_overlap(config, data)
    return data


def _check_served(config: TrainConfig, data: Sources) -> None:
    """Checks that data services, if there are any, can read the datasets: shards of stores are fetched by Python."""
    remote = [source.directory for source in data.each if not storage.is_local(source.directory)]
    if config.data_service and remote:
        raise UserError(
            f"--data_service is for datasets in a folder that its machines share: copy {remote[0]} to one, or leave "
            "the flag out."
        )


def _check_splits(config: TrainConfig, data: Sources) -> None:
    """Checks that some dataset has examples to train on, that some has examples to evaluate on, and each has either."""
    for flag, other in (("train_split", "validation_split"), ("validation_split", "train_split")):
        if not data.having(getattr(config, flag)):
            raise UserError(_without_examples(flag, getattr(config, flag), getattr(config, other), data))
    for source in data.each:
        if not any(source.split(name).num_examples for name in (config.train_split, config.validation_split)):
            raise UserError(
                f"--data: {source.directory} has no example in the splits {config.train_split!r} and "
                f"{config.validation_split!r}, so that it is of no use. It has: {_splits(source)}. Leave it out, or "
                "name its splits: --train_split, --validation_split."
            )


def _check_known(config: TrainConfig, data: Sources) -> None:
    """Checks that labels are known in both splits: enough of them for the loss."""
    for name in (config.train_split, config.validation_split):
        known = sources.num_known(data.split(name).statistics)
        if not any(known):
            raise UserError(f"All labels of the classes of this run are unknown in the split {name!r}.")
        if config.loss == "categorical_crossentropy" and not all(known):
            unknown = [name for name, number in zip(data.classes, known, strict=True) if not number]
            raise UserError(
                "--loss=categorical_crossentropy leaves out every image that has an unknown label, and in the split "
                f"{name!r} no image has a known label of {sources.some(unknown)}. Use --loss=binary_crossentropy, or "
                "name other classes: --classes."
            )


def _without_examples(flag: str, name: str, other: str, data: Sources) -> str:
    """Returns the message that no dataset has an example in a split of the run, with the flag that helps."""
    work = {"train_split": "train", "validation_split": "evaluate"}[flag]
    has_it = any(split.name == name for source in data.each for split in source.info.splits)
    what = f"no image is in the split {name!r}" if has_it else f"there is no split {name!r}"
    found = "; ".join(
        f"{source.directory} has {_splits(source)}" if len(data.each) > 1 else _splits(source) for source in data.each
    )
    message = f"There are no images to {work} on: {what}, which --{flag} names. Images by split: {found}."
    filled = {split.name for source in data.each for split in source.info.splits if split.num_examples} - {name}
    likely = _likeliest(flag, filled - {other})
    if likely:
        return f"{message} Add --{flag}={likely}"
    if filled - {other}:
        return f"{message} Name one of these splits: --{flag}"
    if sum(source.info.num_examples for source in data.each) < 2:
        return f"{message} A training needs two images or more: one to train on, and one to evaluate on."
    return (
        f"{message} Convert again, so that both splits have images: with other fractions, as in "
        "--splits=train=0.5,validation=0.5, or with a column that names the split of each image (--split_column)."
    )


def _likeliest(flag: str, names: set[str]) -> str:
    """Returns the split that a user most likely means; "" if none is likely."""
    by_name = {name.casefold(): name for name in sorted(names)}
    usual = [by_name[name] for name in _USUAL_NAMES[flag] if name in by_name]
    return usual[0] if usual else next(iter(names)) if len(names) == 1 else ""


def _splits(source: Source) -> str:
    return ", ".join(f"{split.name} ({split.num_examples:,})" for split in source.info.splits) or "none"


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
        for shard in source.split(split).shards:
            if shard.num_examples:
                yield shard.sha256, posixpath.join(source.directory, shard.path)


def warnings(config: TrainConfig, data: Sources) -> list[str]:
    """Returns warnings that matter for the results of a run, a line each."""
    return [
        *_leaks(data),
        *_absent(config, data),
        *_unknown(config, data),
        *_exclusive(config, data),
        *_undefined(config, data),
    ]


def _leaks(data: Sources) -> Iterator[str]:
    for source in data.each:
        images, groups = (source.info.leaks.get(name, 0) for name in ("num_images", "num_groups"))
        if groups:
            yield (
                f"{source.directory}: {images} images that are the same or nearly the same, in {groups} groups, are in "
                "several splits (duplicates.csv lists them): metrics of the validation split may be too good. "
                "Converting with --group_near_duplicates keeps them together."
            )


def _absent(config: TrainConfig, data: Sources) -> Iterator[str]:
    """Yields a line for each dataset that has examples in one of the two splits alone."""
    for source in data.each:
        for name, work, other in (
            (config.train_split, "evaluation", "training"),
            (config.validation_split, "training", "evaluation"),
        ):
            if not source.split(name).num_examples:
                yield (
                    f"{source.directory} has no image in the split {name!r} (it has {_splits(source)}): it is used for "
                    f"{work}, and not for {other}."
                )


def _unknown(config: TrainConfig, data: Sources) -> Iterator[str]:
    """Yields a line with the numbers of unknown labels, and one for classes that nothing can be learned of."""
    if not data.has_unknown:
        return
    splits = [data.split(name) for name in (config.train_split, config.validation_split)]
    counts = " and ".join(
        f"{sum(split.statistics.unknown):,} of {split.num_examples * len(data.classes):,} in the split {split.name!r}"
        for split in splits
    )
    yield f"Unknown labels: {counts}. They have no part in the loss and in the metrics."
    if config.loss == "categorical_crossentropy":
        least = max(splits[0].statistics.unknown, default=0)
        mixed = (
            ", and every image that --augment=full mixes with one of them; --augment=crop does not mix images"
            if config.augment == "full" and least
            else ""
        )
        yield (
            "--loss=categorical_crossentropy leaves out every image that has an unknown label: at least "
            f"{least:,} of {splits[0].num_examples:,} in the split {config.train_split!r}{mixed}."
        )
    known = sources.num_known(splits[0].statistics)
    names = [name for name, number in zip(data.classes, known, strict=True) if not number]
    if names:
        yield (
            f"No image of the split {config.train_split!r} has a known label of {sources.some(names)}: nothing is "
            "learned of these classes. --classes names the classes to train on."
        )


def _exclusive(config: TrainConfig, data: Sources) -> Iterator[str]:
    """Yields a line if a softmax is trained on images with several labels, or with none."""
    statistics = data.split(config.train_split).statistics
    labels, images = sum(statistics.positives), statistics.num_examples
    # Where labels are unknown, there may be a positive one among them.
    if config.loss == "categorical_crossentropy" and (labels > images or (labels < images and not data.has_unknown)):
        yield (
            f"--loss=categorical_crossentropy needs one label for each image, but the {images} images of the split "
            f"{config.train_split!r} have {labels} labels: some have {'several' if labels > images else 'none'}. "
            "--loss=binary_crossentropy is the loss for such labels."
        )


def _undefined(config: TrainConfig, data: Sources) -> Iterator[str]:
    """Yields a line if no class has an average precision."""
    statistics = data.split(config.validation_split).statistics
    known = sources.num_known(statistics)
    if not any(0 < positives < number for positives, number in zip(statistics.positives, known, strict=True)):
        yield (
            f"Every class is a label of all images or of no image in the split {config.validation_split!r}"
            f"{', as far as labels are known' if data.has_unknown else ''}: the mean average precision is undefined."
        )
