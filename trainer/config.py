"""Defines TrainConfig: every setting of a training run, with its help and its checks."""

import dataclasses
import functools
import math
import os
import re
from collections.abc import Iterable
from dataclasses import field
from typing import Any

from multihot.errors import UserError
from multihot.settings import choices, setting
from trainer import recipes

# The default of a setting whose value depends on the model and its weights: recipes.py has it.
_BY_RECIPE: Any = None
_SERVICE = re.compile(r"grpc://[^/\s]+:\d{1,5}")


def parse_weights(values: Iterable[str]) -> tuple[float, ...]:
    """Returns the numbers of `--data_weights=3,1`.

    Raises:
        UserError: something else was received.
    """
    try:
        return tuple(float(value) for value in values)
    except ValueError:
        raise UserError(f"--data_weights must be numbers, as in 3,1. Received: {_list(values)}") from None


def parse_sizes(values: Iterable[str]) -> tuple[tuple[int, float], ...] | None:
    """Returns the pairs of `--train_sizes=32x50,48x40`: a size and its share of the epochs.

    Raises:
        UserError: something else was received.
    """
    if values is None:
        return None
    try:
        pairs = [value.lower().split("x") for value in values]
        return tuple((int(size), float(share)) for size, share in pairs)
    except ValueError:
        raise UserError(
            f"--train_sizes must be sizes with their shares of the epochs, as in 32x50,64x30. Received: {_list(values)}"
        ) from None


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
        default=_BY_RECIPE,
        metadata=setting(
            "small_resnet, efficientnet_lite0, any of keras.applications (vgg16, resnet50, ...), or your own: "
            "my_package.my_module:build."
        ),
    )
    weights: str = field(
        default="none",
        metadata=setting(
            "none; imagenet; the folder of an earlier run; or a file of weights. Defaults of other settings follow."
        ),
    )
    freeze_backbone: bool = field(default=_BY_RECIPE, metadata=setting("Train the head only."))
    unfreeze_epochs: int = field(
        default=_BY_RECIPE,
        metadata=setting(
            "Passes over the training split after --epochs, in which the upper part of the frozen backbone is trained "
            "too."
        ),
    )
    unfreeze_from: str = field(
        default=_BY_RECIPE,
        metadata=setting("First layer of that part: its name, the beginning of it, or a share of the layers below it."),
    )
    unfreeze_learning_rate: float = field(
        default=_BY_RECIPE, metadata=setting("The highest learning rate of these epochs.")
    )
    image_size: int = field(
        default=_BY_RECIPE, metadata=setting("Height and width that images are resized to, pixels.")
    )
    train_sizes: tuple[tuple[int, float], ...] = field(
        default=_BY_RECIPE,
        metadata=setting(
            "Sizes of training images, one after the other, each with its share of the epochs, as in 32x50,64x30. "
            "Small images are fast. Evaluation is at --image_size.",
            parse=parse_sizes,
        ),
    )
    resize: str = field(
        default="stretch",
        metadata=setting(
            "Way from an image to a square. stretch: its sides change; crop: the middle is cut out; pad: black is "
            "added.",
            choices=("stretch", "crop", "pad"),
        ),
    )
    preprocessing: str = field(
        default="auto",
        metadata=setting(
            "Pixels that the backbone gets. auto: the range that its weights were trained with; unit: 0 to 1.",
            choices=("auto", "unit"),
        ),
    )
    batch_size: int = field(default=32, metadata=setting("Examples in a training step."))
    # None until the number of images is known, where the recipe decides by it (phases.with_epochs).
    epochs: int = field(default=_BY_RECIPE, metadata=setting("Passes over the training split."))
    optimizer: str = field(
        default=_BY_RECIPE,
        metadata=setting("muon: Muon for the kernels of convolutions, AdamW for the rest.", choices=("adamw", "muon")),
    )
    learning_rate: float = field(default=_BY_RECIPE, metadata=setting("The highest learning rate of the schedule."))
    schedule: str = field(
        default="cosine",
        metadata=setting("cosine warms up and falls to 0.", choices=("cosine", "constant")),
    )
    early_stopping: int = field(
        default=0,
        metadata=setting(
            "Epochs without a better validation loss after which a run with --schedule=constant ends; 0: never."
        ),
    )
    weight_decay: float = field(
        default=0.3,
        metadata=setting("Weight decay, not of biases and normalization; 0: none."),
    )
    clip_norm: float = field(default=0.0, metadata=setting("Largest norm of the gradient of a step; 0: any."))
    accumulate: int = field(default=1, metadata=setting("Batches of which the gradients make one step."))
    sam_rho: float = field(
        default=_BY_RECIPE,
        metadata=setting(
            "Radius of sharpness-aware minimization (SAM), as in 0.05; 0: none. Steps take about twice the time."
        ),
    )
    ema: float = field(
        default=_BY_RECIPE,
        metadata=setting("Momentum of the average of the weights that is evaluated and saved, as in 0.99; 0: none."),
    )
    augment: str = field(
        default=_BY_RECIPE,
        metadata=setting(
            "crop: random resized crops, and flips; full: these, random colours, and --mixup.",
            choices=("none", "flip", "crop", "full"),
        ),
    )
    mixup: float = field(
        default=_BY_RECIPE,
        metadata=setting(
            "Largest share of another image, and of its labels, that is blended into one with --augment=full; 0: none."
        ),
    )
    mixup_until: float = field(
        default=0.85,
        metadata=setting(
            "Share of the epochs, the first ones, in which --mixup blends images; in the last ones, models learn from "
            "images that are like those they predict for. 1: all."
        ),
    )
    min_crop_area: float = field(
        default=_BY_RECIPE, metadata=setting("Smallest share of an image that a random crop keeps.")
    )
    test_time_flip: bool = field(
        default=_BY_RECIPE,
        metadata=setting("Average the scores of each image and its mirror image when evaluating."),
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
            "resized: crops are cut from images reduced to 3/2 of the size, 9/8 above 128 pixels, cached or not; "
            "original: from the encoded image.",
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
    cache_dir: str = field(
        default="",
        metadata=setting("Folder for caches on disk, and for shards from a store. Default: ~/.cache/multihot."),
    )
    loss: str = field(
        default="binary_crossentropy",
        metadata=setting(
            "binary_crossentropy: a sigmoid for each class; asymmetric: the same, with less weight on easy negative "
            "labels; categorical_crossentropy: a softmax over all classes.",
            choices=("binary_crossentropy", "asymmetric", "categorical_crossentropy"),
        ),
    )
    positive_weights: str = field(
        default="none",
        metadata=setting(
            "Weights of positive labels in the loss. balanced: positive and negative labels of a class together have "
            "the same weight.",
            choices=("none", "balanced"),
        ),
    )
    label_smoothing: float = field(
        default=_BY_RECIPE, metadata=setting("Share by which labels are moved towards 0.5, as in 0.1.")
    )
    precision: str = field(
        default="auto",
        metadata=setting(
            "Type in which the model computes; weights are float32. auto: bfloat16 where the device is fast in it.",
            choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
        ),
    )
    data_service: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "tf.data services that load the training images, as in grpc://host0:5050,grpc://host1:5050. python -m "
            "trainer.data_service starts one."
        ),
    )
    strategy: str = field(
        default="none",
        metadata=setting(
            "Devices that train together, each a part of every batch. mirrored: all GPUs of this machine; "
            "multi_worker: the machines that TF_CONFIG names; tpu: all cores of a TPU.",
            choices=("none", "mirrored", "multi_worker", "tpu"),
        ),
    )
    deterministic: bool = field(
        default=False, metadata=setting("Give the same weights bit for bit each time, which is slower.")
    )
    checkpoint_seconds: int = field(
        default=60, metadata=setting("Least time between two checkpoints, from which the same command goes on.")
    )
    seed: int = field(
        default=0, metadata=setting("Seed of the initial weights, the order of examples, and augmentation.")
    )
    train_split: str = field(default="train", metadata=setting("Split to train on."))
    validation_split: str = field(default="validation", metadata=setting("Split to evaluate on."))
    overwrite: bool = field(default=False, metadata=setting("Replace the run that is in --output."))

    def __post_init__(self) -> None:
        for name, value in recipes.complete(dataclasses.asdict(self)).items():
            object.__setattr__(self, name, value)
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
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name} must be at least {least}. Received: {value}")
        self._check_rates()
        self._check_sizes()
        if self.strategy != "none":
            self._check_strategy()
        for address in self.data_service:
            if not _SERVICE.fullmatch(address):
                raise UserError(f"--data_service must be addresses as in grpc://localhost:5050. Received: {address!r}")
        if self.train_split == self.validation_split:
            raise UserError(
                "--train_split and --validation_split must differ: the model would be evaluated on the images that it "
                f"was trained on. Received: {self.train_split!r} for both"
            )
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed must be at least 0 and less than 2**32. Received: {self.seed}")
        if self.cache == "features" and not self.features_are_fixed:
            raise UserError(
                "--cache=features needs --freeze_backbone, and --augment=none or --unfreeze_epochs: otherwise features "
                "change."
            )
        if self.cache in ("decoded", "disk") and self.crops_originals:
            raise UserError(
                f"--cache={self.cache} keeps resized images, but --crop_from=original cuts crops from the original "
                "ones. Choose --crop_from=resized, or --cache=encoded, --cache=none or --cache=auto."
            )

    def _check_rates(self) -> None:
        for name in ("learning_rate", "unfreeze_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be positive. Received: {getattr(self, name)}")
        for name in ("weight_decay", "label_smoothing", "ema", "mixup"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 0 and less than 1. Received: {getattr(self, name)}")
        for name in ("min_crop_area", "mixup_until"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"--{name} must be more than 0 and at most 1. Received: {getattr(self, name)}")
        for name in ("clip_norm", "sam_rho"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be at least 0. Received: {getattr(self, name)}")
        if self.unfreeze_epochs and not self.freeze_backbone:
            raise UserError("--unfreeze_epochs needs --freeze_backbone: otherwise all is trained from the start.")
        if self.early_stopping and self.schedule != "constant":
            raise UserError(
                f"--early_stopping needs --schedule=constant: with --schedule={self.schedule} the best epochs are the "
                "last ones, in which the learning rate falls. Fewer --epochs end such a run earlier."
            )

    def _check_sizes(self) -> None:
        for size, share in self.train_sizes:
            if size < 1 or not 0 < share < math.inf:
                raise UserError(f"--train_sizes must be positive. Received: {size}x{share:g}")
            if size > self.image_size:
                raise UserError(f"--train_sizes must be at most --image_size. Received: {size} and {self.image_size}")

    def _check_strategy(self) -> None:
        # Keras clips, and adds up, the gradients of each replica on its own.
        plains = {"clip_norm": 0.0, "accumulate": 1}
        for name, plain in plains.items():
            given = getattr(self, name)
            if given != plain:
                raise UserError(
                    f"--{name} is for one device: leave it out with --strategy={self.strategy}. Received: {given}"
                )

    @property
    def splits(self) -> tuple[str, str]:
        """The splits that are read: to train on, and to evaluate on."""
        return self.train_split, self.validation_split

    @property
    def cache_folder(self) -> str:
        """Folder of all caches on disk."""
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return self.cache_dir or os.path.join(cache, "multihot")

    @property
    def least_size(self) -> int:
        """Height and width of the smallest images that are trained on, pixels."""
        return min((size for size, _ in self.train_sizes), default=self.image_size)

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
        return self.freeze_backbone and (self.augment == "none" or self.unfreeze_epochs > 0)


# The smallest values of whole numbers.
_LEAST = {
    "image_size": 1,
    "batch_size": 1,
    "epochs": 1,
    "unfreeze_epochs": 0,
    "early_stopping": 0,
    "accumulate": 1,
    "checkpoint_seconds": 0,
}
# The values of a setting that has choices, by its name.
CHOICES = choices(TrainConfig)


@functools.cache
def older_defaults() -> dict[str, Any]:
    """Returns the value of each setting in a run whose config.json does not name it."""
    fields = dataclasses.fields(TrainConfig)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    # Older runs had the same defaults for all models: those of models without weights and without a recipe today.
    plain = recipes.complete({**dict.fromkeys(defaults), "model": "vgg16", "weights": "none"})
    return {**defaults, **plain, "model": recipes.SMALL_RESNET}
