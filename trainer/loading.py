"""Defines `trainer.load`: the input pipeline of the trainer for a loop of the user's own, as in docs/own_loop.md."""

import contextlib
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from multihot.errors import UserError
from trainer import sources
from trainer.config import CHOICES, TrainConfig
from trainer.input import caching, pipeline
from trainer.sources import Sources

# The split that is trained on unless a call says otherwise.
_TRAINING_SPLIT = "train"
# The other split of the configuration of a run: no dataset has one of this name.
_NO_SPLIT = ""
# Features of a backbone belong to a run, which has one.
_CACHES = tuple(content for content in CHOICES["cache"] if content != "features")


def load(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    split: str = _TRAINING_SPLIT,
    training: bool | None = None,
    image_size: int = 224,
    batch_size: int = 32,
    classes: Sequence[str] = (),
    data_weights: Sequence[float] = (),
    augment: str | None = None,
    mixup: float = 0.0,
    min_crop_area: float = 0.3,
    crop_from: str = "resized",
    resize: str = "stretch",
    decode: str = "scaled",
    cache: str = "auto",
    cache_dir: str | os.PathLike[str] = "",
    seed: int = 0,
    first_epoch: int = 0,
    skip_batches: int = 0,
) -> tf.data.Dataset:
    """Returns a split of one or several datasets as batches of images and labels: the trainer's own input pipeline.

    For training, each iteration is the next epoch: every example once, in an order and with random changes that depend
    on the seed and the number of the epoch alone. Examples that do not fill a batch are left out; each epoch leaves out
    other ones. Otherwise each iteration has every example once, always in the same order, and the last batch has what
    remains.

    Nothing of it calls Python. Keyword arguments are named as the flags of `python -m trainer`, and take the same
    values.

    Args:
        data: folder of a dataset (ROOT/NAME/VERSION), or several.
        split: name of the split.
        training: whether examples are shuffled and augmented; by default if the split is named `train`.
        image_size: height and width of the images, pixels.
        batch_size: examples in a batch. A training split that has fewer is one batch.
        classes: those of the labels, in this order; by default all classes of the first dataset.
        data_weights: share of each dataset in an epoch, as in (3, 1); by default every example has its turn once. Only
            for training.
        augment: `none`, `flip`, `crop` (random crops, and flips) or `full` (these, random colours, and mixup). `crop`
            by default for training; `none` otherwise, where nothing else is possible.
        mixup: the largest share of another image, and of its labels, that is blended into one with `full`; 0: none.
        min_crop_area: smallest share of an image that a random crop keeps, more than 0 and at most 1.
        crop_from: `resized`, or `original` to cut crops from the encoded images.
        resize: way from an image to a square: `stretch`, `crop` or `pad`.
        decode: `scaled`, or `exact` to decode images in full and resize them with antialiasing.
        cache: content that is kept between iterations: `decoded` or `encoded` images in memory, `disk`, `none`; `auto`
            takes what there is room for. Decoded images are read when this function is called.
        cache_dir: folder for caches on disk; by default ~/.cache/multihot.
        seed: of order and augmentation, at least 0 and less than 2**32.
        first_epoch: number of the epoch that the first iteration is, counted from 0. Only for training.
        skip_batches: batches that were trained on since the start of `first_epoch`, which may be more than one epoch
            has. The first iteration begins after them, and ends with its epoch; the number of batches is then unknown
            to `cardinality()`. Only for training.

    Returns:
        Pairs of images and labels. Images: uint8 [batch, image_size, image_size, 3], RGB, 0 to 255; float32 in the same
        range with `augment` `full`. Labels: float32 [batch, k], 0 or 1; between both with `mixup`; 2 where the label is
        unknown. The attribute `class_names` is the list of the k classes.

    Raises:
        UserError: an argument cannot be used, a folder holds no dataset or has no image in the split, or what is asked
            for does not fit into memory or on the disk. It is a ValueError.
    """
    first_epoch, skip_batches = _place("first_epoch", first_epoch), _place("skip_batches", skip_batches)
    weights = tuple(_number("data_weights", weight) for weight in _several("data_weights", data_weights))
    if training is None:
        training = split == _TRAINING_SPLIT
    if not training:
        _only_for_training(
            split,
            augment=augment not in (None, "none"),
            data_weights=len(weights) > 0,
            first_epoch=first_epoch > 0,
            skip_batches=skip_batches > 0,
        )
    if cache not in _CACHES:
        raise UserError(f"cache must be one of {', '.join(_CACHES)}. Received: {cache!r}")
    with _errors_of_keywords():
        config = TrainConfig(
            data=_paths(data),
            output="none is written",
            data_weights=weights,
            classes=_names("classes", classes),
            train_sizes=(),
            augment=augment or ("crop" if training else "none"),
            mixup=_number("mixup", mixup),
            min_crop_area=_number("min_crop_area", min_crop_area),
            crop_from=crop_from,
            resize=resize,
            decode=decode,
            cache=cache,
            cache_dir=_path("cache_dir", cache_dir),
            train_split=split if training else _NO_SPLIT,
            validation_split=_NO_SPLIT if training else split,
            image_size=_whole("image_size", image_size),
            batch_size=_whole("batch_size", batch_size),
            seed=_whole("seed", seed),
        )
        found = sources.load(config)
        _check_split(found, split)
        with sources.damaged_shards_named(found, [split]):
            dataset = _training(config, found, first_epoch, skip_batches) if training else _evaluation(config, found)
    dataset.class_names = list(found.classes)
    return dataset


def _training(config: TrainConfig, data: Sources, first_epoch: int, skip_batches: int) -> tf.data.Dataset:
    plan = caching.choose(config, data)
    cached = caching.fill_or_open(plan, config, data, config.train_split, pipeline.cached_image_size(config))
    num_batches = pipeline.steps_per_epoch(config, data)
    more_epochs, skip = divmod(skip_batches, num_batches)
    first_epoch += more_epochs
    with tf.device("CPU"):
        epoch = tf.Variable(first_epoch - 1, dtype=tf.int64, trainable=False)

    def batches(skip: int = 0) -> tf.data.Dataset:
        return pipeline.training_dataset(
            config, data, cached, epoch=epoch, skip=skip, keep_encoded=plan.content == "encoded"
        )

    whole = batches()
    if not skip:
        dataset = _advancing(epoch, lambda _: whole)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_batches))
    else:
        # Encoded images that are kept would be kept twice by two pipelines.
        rest = whole.skip(skip) if plan.content == "encoded" else batches(skip)

        def one_of(number: tf.Tensor) -> tf.data.Dataset:
            num_rest = tf.cast(number == first_epoch, tf.int64) * num_batches
            # Nothing is read of which nothing is taken.
            return rest.take(num_rest).concatenate(whole.take(num_batches - num_rest))

        dataset = _advancing(epoch, one_of)
    return dataset.with_options(whole.options())


def _advancing(epoch: tf.Variable, batches: Callable[[tf.Tensor], tf.data.Dataset]) -> tf.data.Dataset:
    """Returns the batches of the next epoch at each iteration. The variable changes when its first batch is asked for.

    Args:
        epoch: variable with the number of the last epoch that has begun, which `batches` reads.
        batches: those of the epoch with a number, int64.
    """
    return tf.data.Dataset.from_tensors(0).map(lambda _: epoch.assign_add(1)).flat_map(batches)


def _evaluation(config: TrainConfig, data: Sources) -> tf.data.Dataset:
    plan = caching.choose(config, data)
    split = config.validation_split
    cached = caching.fill_or_open(plan, config, data, split, config.image_size)
    return pipeline.evaluation_dataset(config, data, split, cached, keep_encoded=plan.content == "encoded")


def _whole(name: str, number: int) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise UserError(f"{name} must be a whole number. Received: {number!r}") from None


def _place(name: str, number: int) -> int:
    if _whole(name, number) < 0:
        raise UserError(f"{name} must be at least 0. Received: {number}")
    return _whole(name, number)


def _only_for_training(split: str, **given: bool) -> None:
    """Checks that no argument is given that makes no difference without training."""
    for name, is_given in given.items():
        if is_given:
            raise UserError(
                f"{name} is for training, and the split {split!r} is not trained on: leave it out, or add training=True"
            )


def _paths(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    folders = [data] if isinstance(data, str | bytes | os.PathLike) else _several("data", data)
    return tuple(_path("data", folder) for folder in folders)


def _path(name: str, path: str | os.PathLike[str]) -> str:
    if isinstance(path, str | os.PathLike):
        return os.fspath(path)
    raise UserError(f"{name} must be a path. Received: {path!r}")


def _names(name: str, names: Sequence[str]) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(_several(name, names))
    for each in found:
        if not isinstance(each, str):
            raise UserError(f"{name} must be names. Received: {each!r}")
    return found


def _several(name: str, values: Iterable[Any]) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise UserError(f"{name} must be a list. Received: {values!r}") from None


def _number(name: str, number: float) -> float:
    try:
        return float(number)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a number. Received: {number!r}") from None


def _check_split(data: Sources, name: str) -> None:
    """Checks that each dataset has images in the split."""
    for source in data.each:
        if not source.split(name).num_examples:
            splits = ", ".join(f"{split.name} ({split.num_examples:,})" for split in source.info.splits)
            raise UserError(
                f"{source.directory} has no image in the split {name!r}. Images by split: {splits or 'none'}."
            )


@contextlib.contextmanager
def _errors_of_keywords() -> Iterator[None]:
    """Lets the messages of errors name keyword arguments where they name flags."""
    try:
        yield
    except UserError as error:
        raise UserError(in_keywords(str(error))) from error


def in_keywords(message: str) -> str:
    """Returns a message about flags as one about keyword arguments: `cache='disk'` for `--cache=disk`."""

    def keyword(flag: re.Match[str]) -> str:
        name, value = flag.groups()
        name = "split" if name in ("train_split", "validation_split") else name
        return name if value is None else f"{name}={value!r}"

    return re.sub(r"(?<![\w-])--(\w+)(?:=(\w+))?", keyword, message)
