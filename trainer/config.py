"""Defines TrainConfig: every setting of a training run, with its help and its checks."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import field

from multihot.errors import UserError
from multihot.settings import choices, setting


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a run. The help of each field is that of its flag."""

    data: tuple[str, ...] = field(
        metadata=setting(
            "Folder of a dataset: ROOT/NAME/VERSION. Repeat it for several.", value="DATASET", repeated=True
        )
    )
    output: str = field(metadata=setting("Folder of the run.", value="FOLDER"))
    data_weights: tuple[float, ...] = field(
        default=(),
        metadata=setting(
            "Share of each --data in an epoch, as in 3,1. Default: every example once an epoch.", parse=parse_weights
        ),
    )
    classes: tuple[str, ...] = field(default=(), metadata=setting("Classes to train on, in this order. Default: all."))
    model: str = field(
        default="small_resnet",
        metadata=setting("small_resnet, or any of keras.applications: vgg16, resnet50, ..."),
    )
    weights: str = field(default="none", metadata=setting("none, imagenet, or a file of weights for the backbone."))
    freeze_backbone: bool = field(default=False, metadata=setting("Train the head only."))
    image_size: int = field(default=64, metadata=setting("Height and width that images are resized to, pixels."))
    preprocessing: str = field(
        default="auto",
        metadata=setting(
            "Pixels that the backbone gets. auto: the range that its weights were trained with; unit: 0 to 1.",
            choices=("auto", "unit"),
        ),
    )
    batch_size: int = field(default=32, metadata=setting("Examples in a training step."))
    epochs: int = field(default=40, metadata=setting("Passes over the training split."))
    learning_rate: float = field(default=2e-3, metadata=setting("The highest learning rate of the schedule."))
    schedule: str = field(
        default="cosine",
        metadata=setting("cosine warms up and falls to 0.", choices=("cosine", "constant")),
    )
    weight_decay: float = field(default=0.05, metadata=setting("Weight decay of AdamW; 0 makes it Adam."))
    augment: str = field(
        default="full",
        metadata=setting(
            "crop: random resized crops, and flips; full: these, random colours, and mixup.",
            choices=("none", "flip", "crop", "full"),
        ),
    )
    decode: str = field(
        default="scaled",
        metadata=setting(
            "scaled: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size if that is large enough; exact: images are "
            "decoded in full, and resized with antialiasing.",
            choices=("scaled", "exact"),
        ),
    )
    crop_from: str = field(
        default="resized",
        metadata=setting(
            "resized: crops are cut from images reduced to 9/8 of the size, cached or not; original: from the encoded "
            "image.",
            choices=("resized", "original"),
        ),
    )
    cache: str = field(
        default="auto",
        metadata=setting(
            "Content that is kept between epochs: features of a frozen backbone, decoded or encoded images, in memory; "
            "disk: features or decoded images on disk.",
            choices=("auto", "features", "decoded", "encoded", "disk", "none"),
        ),
    )
    cache_dir: str = field(default="", metadata=setting("Folder for caches on disk. Default: ~/.cache/multihot."))
    loss: str = field(
        default="binary_crossentropy",
        metadata=setting(
            "binary_crossentropy: a sigmoid for each class; categorical_crossentropy: a softmax over all classes.",
            choices=("binary_crossentropy", "categorical_crossentropy"),
        ),
    )
    seed: int = field(
        default=0, metadata=setting("Seed of the initial weights, the order of examples, and augmentation.")
    )
    train_split: str = field(default="train", metadata=setting("Split to train on."))
    validation_split: str = field(default="validation", metadata=setting("Split to evaluate on."))
    overwrite: bool = field(default=False, metadata=setting("Replace the run that is in --output."))

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
            raise UserError(f"--classes must name each class once. Received: {_list(self.classes)}")
        if "://" in self.output:
            raise UserError(f"--output must be a folder of this machine. Received: {self.output!r}")
        for name, values in CHOICES.items():
            if getattr(self, name) not in values:
                raise UserError(f"--{name} must be one of {', '.join(values)}. Received: {getattr(self, name)!r}")
        for name in ("image_size", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1. Received: {getattr(self, name)}")
        if self.train_split == self.validation_split:
            raise UserError(
                "--train_split and --validation_split must differ: the model would be evaluated on the images that it "
                f"was trained on. Received: {self.train_split!r} for both"
            )
        if not self.learning_rate > 0:
            raise UserError(f"--learning_rate must be positive. Received: {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed must be at least 0 and less than 2**32. Received: {self.seed}")
        if not 0 <= self.weight_decay < 1:
            raise UserError(f"--weight_decay must be at least 0 and less than 1. Received: {self.weight_decay}")
        if self.cache == "features" and not self.features_are_fixed:
            raise UserError("--cache=features needs --freeze_backbone and --augment=none: otherwise features change.")
        if self.cache in ("decoded", "disk") and self.crops_originals:
            raise UserError(
                f"--cache={self.cache} keeps resized images, but --crop_from=original cuts crops from the original "
                "ones. Choose --crop_from=resized, or --cache=encoded, --cache=none or --cache=auto."
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
        """Whether the features of an image are the same in every epoch."""
        return self.freeze_backbone and self.augment == "none"


# The values of a setting that has choices, by its name.
CHOICES = choices(TrainConfig)
