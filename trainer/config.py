"""TrainConfig: everything that a run is asked to do."""

import dataclasses
import math
from collections.abc import Iterable

from schemas.errors import UserError

AUGMENTS = ("none", "flip", "crop", "full")
CROPS_FROM = ("resized", "original")
CACHES = ("auto", "features", "decoded", "encoded", "disk", "none")
DECODES = ("scaled", "exact")
LOSSES = ("binary_crossentropy", "categorical_crossentropy")
PREPROCESSINGS = ("auto", "unit")
SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, on what, and how.

    Attributes:
        data: folders of the datasets, each `<root>/<name>/<version>`.
        output: folder of the run, on this machine; it must not hold one yet, unless `overwrite`.
        data_weights: how often each dataset is seen, relative to the others; when empty, every example once an epoch.
        classes: names of those to train on, in the order of the model's outputs; all when empty.
        model: `small_resnet`, or the name of a model of keras.applications in any spelling, e.g. `mobilenet_v3_small`.
        weights: `none`, `imagenet`, or a file of weights for the backbone.
        freeze_backbone: whether to train the head only.
        image_size: height and width that images are resized to, pixels.
        preprocessing: what the backbone gets: `auto` is what its weights were trained with, `unit` is 0 to 1.
        batch_size: examples in a step.
        epochs: passes over the training split.
        learning_rate: the highest of the schedule.
        schedule: `cosine` warms up and falls to 0, `constant` stays.
        weight_decay: of AdamW; 0 makes it Adam.
        augment: `none`; `flip`: left to right; `crop`: random resized crops and flips; `full`: colour and mixup too.
        decode: `scaled` has libjpeg leave out pixels that resizing would average away; `exact` decodes all of them.
        crop_from: what random crops are cut from: `resized` is the image reduced to a square of 9/8 of the size, cached
            or not; `original` is the encoded image, of which only the crop is decoded.
        cache: what is kept between epochs: `decoded` or `encoded` images or `features` of a frozen backbone in memory,
            or on `disk` the first or the last of them; `auto` chooses by the room that there is.
        cache_dir: folder for what is cached on disk, for this run and later ones; by default ~/.cache/multihot.
        loss: `binary_crossentropy` on sigmoids, or `categorical_crossentropy` on a softmax.
        seed: of initial weights, order and augmentation; 0 to 2**32 - 1.
        train_split: name of the split to train on.
        validation_split: name of the split to evaluate on, another one.
        overwrite: whether to replace a run that is there.
    """

    data: tuple[str, ...]
    output: str
    data_weights: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    model: str = "small_resnet"
    weights: str = "none"
    freeze_backbone: bool = False
    image_size: int = 64
    preprocessing: str = "auto"
    batch_size: int = 32
    epochs: int = 40
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 0.05
    augment: str = "full"
    decode: str = "scaled"
    crop_from: str = "resized"
    cache: str = "auto"
    cache_dir: str = ""
    loss: str = "binary_crossentropy"
    seed: int = 0
    train_split: str = "train"
    validation_split: str = "validation"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.data or not all(self.data):
            raise UserError("--data is required.")
        if not self.output:
            raise UserError("--output is required.")
        if self.data_weights and len(self.data_weights) != len(self.data):
            received = f"{len(self.data)} --data and {len(self.data_weights)} weights"
            raise UserError(f"--data_weights must have a weight for each --data. Received: {received}")
        if not all(0 < weight < math.inf for weight in self.data_weights):
            raise UserError(f"--data_weights must be positive. Received: {_list(self.data_weights)}")
        if len(set(self.classes)) < len(self.classes) or not all(self.classes):
            raise UserError(f"--classes must be names, each once. Received: {_list(self.classes)}")
        if "://" in self.output:
            raise UserError(f"--output must be a folder of this machine. Received: {self.output!r}")
        for name, choices in (
            ("augment", AUGMENTS),
            ("cache", CACHES),
            ("crop_from", CROPS_FROM),
            ("decode", DECODES),
            ("loss", LOSSES),
            ("preprocessing", PREPROCESSINGS),
            ("schedule", SCHEDULES),
        ):
            if getattr(self, name) not in choices:
                raise UserError(f"--{name} must be one of {', '.join(choices)}. Received: {getattr(self, name)!r}")
        for name in ("image_size", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1. Received: {getattr(self, name)}")
        if self.train_split == self.validation_split:
            raise UserError(
                "--train_split and --validation_split must differ: a model that is evaluated on what it was trained on "
                f"looks better than it is. Received: {self.train_split!r} for both"
            )
        if not self.learning_rate > 0:
            raise UserError(f"--learning_rate must be positive. Received: {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed must be at least 0 and less than 2**32. Received: {self.seed}")
        if not 0 <= self.weight_decay < 1:
            raise UserError(f"--weight_decay must be at least 0 and less than 1. Received: {self.weight_decay}")
        if self.cache == "features" and not self.features_are_fixed:
            raise UserError("--cache=features needs --freeze_backbone and --augment=none: they change otherwise.")

        if self.cache in ("decoded", "disk") and self.crops_originals:
            raise UserError(
                f"--cache={self.cache} keeps resized images, and --crop_from=original cuts crops from images that are "
                "not. Choose --cache=encoded or --cache=none, let --cache=auto do so, or choose --crop_from=resized."
            )

    @property
    def crops_originals(self) -> bool:
        """Whether images are cropped at random, each before it is resized."""
        return self.crops and self.crop_from == "original"

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
        return self.augment in ("crop", "full")

    @property
    def features_are_fixed(self) -> bool:
        """Whether the backbone says the same of an image in every epoch."""
        return self.freeze_backbone and self.augment == "none"


def parse_weights(values: Iterable[str]) -> tuple[float, ...]:
    """Returns the numbers of `--data_weights=3,1`.

    Raises:
        UserError: something else was received.
    """
    try:
        return tuple(float(value) for value in values)
    except ValueError:
        raise UserError(f"--data_weights must be numbers, as in 3,1. Received: {_list(values)}") from None


def _list(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)
