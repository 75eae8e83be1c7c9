"""Divides a run into phases: epochs in which one optimizer trains the same weights.

A run has one phase, or two if a frozen backbone is unfrozen: first the head is trained on the features of the images as
they are, then the upper part of the backbone with it. Within a phase, images may grow, and mixup ends.
"""

import dataclasses
import math
from typing import NamedTuple

from trainer import recipes
from trainer.config import TrainConfig


class Phase(NamedTuple):
    """Consecutive epochs of a run.

    Attributes:
        config: the settings in these epochs: those of the run, with the rate, epochs and augmentation of the phase.
        first_epoch: its number in the run, counted from 0.
        part: the weights that are trained: `all`; `head`; or `upper`, the head and the upper part of the backbone.
    """

    config: TrainConfig
    first_epoch: int
    part: str

    @property
    def end(self) -> int:
        """The number of the first epoch after the phase."""
        return self.first_epoch + self.config.epochs

    def image_size(self, epoch: int) -> int:
        """Returns the size of the training images in an epoch of the run, pixels."""
        return sizes(self.config)[epoch - self.first_epoch]

    def images(self, epoch: int) -> tuple[int, float]:
        """Returns `image_size` and `mixup` of an epoch of the run."""
        return self.image_size(epoch), self.mixup(epoch)

    def mixup(self, epoch: int) -> float:
        """Returns the largest share of another image in a training image in an epoch of the run, 0 if none."""
        config = self.config
        # Rounded up: a training of few epochs has mixup, where it is asked for.
        blended = math.ceil(round(config.epochs * config.mixup_until, 6))
        return config.mixup if config.augment == "full" and epoch - self.first_epoch < blended else 0.0


def with_epochs(config: TrainConfig, num_images: int) -> TrainConfig:
    """Returns the settings of a run with its number of epochs, which a recipe may leave to the number of images.

    Args:
        config: of the run.
        num_images: of the training split.
    """
    return config if config.epochs else dataclasses.replace(config, epochs=recipes.num_epochs(num_images))


def of_run(config: TrainConfig) -> list[Phase]:
    """Returns the phases of a run, in their order."""
    if not config.unfreeze_epochs:
        return [Phase(config, 0, "head" if config.freeze_backbone else "all")]
    # The features of small images take less time, and the upper layers begin with small images too.
    size = config.train_sizes[0][0] if config.train_sizes else config.image_size
    head = dataclasses.replace(config, unfreeze_epochs=0, sam_rho=0.0, augment="none", image_size=size, train_sizes=())
    upper = dataclasses.replace(
        config,
        freeze_backbone=False,
        unfreeze_epochs=0,
        epochs=config.unfreeze_epochs,
        learning_rate=config.unfreeze_learning_rate,
        cache="auto" if config.cache == "features" else config.cache,
    )
    return [Phase(head, 0, "head"), Phase(upper, head.epochs, "upper")]


def sizes(config: TrainConfig) -> list[int]:
    """Returns the size of the training images in each epoch of a phase, pixels."""
    if not config.train_sizes:
        return [config.image_size] * config.epochs
    shares = [share for _, share in config.train_sizes]
    # Rounded down: in a short training, the last size has epochs rather than the first ones.
    ends = [int(config.epochs * sum(shares[: i + 1]) / sum(shares)) for i in range(len(shares))]
    starts = [0, *ends[:-1]]
    return [
        size for (size, _), start, end in zip(config.train_sizes, starts, ends, strict=True) for _ in range(end - start)
    ]
