"""Holds the recipes: the values that settings have by default, which depend on the model and its weights."""

from collections.abc import Mapping
from typing import Any

from trainer import earlier_run

SMALL_RESNET = "small_resnet"
EFFICIENTNET_LITE0 = "efficientnet_lite0"
# Models that take images of any size, so that images can grow during a training.
ANY_SIZE = (SMALL_RESNET, EFFICIENTNET_LITE0)

# Settings without a recipe of their own.
_PLAIN: Mapping[str, Any] = {
    "freeze_backbone": False,
    "unfreeze_epochs": 0,
    "unfreeze_from": "0.5",
    "unfreeze_learning_rate": 5e-4,
    "image_size": 64,
    "train_sizes": (),
    "epochs": 40,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "augment": "full",
    "mixup": 0.4,
    "min_crop_area": 0.3,
    "label_smoothing": 0.0,
    "sam_rho": 0.0,
    "ema": 0.0,
    "test_time_flip": False,
}
_SCRATCH: Mapping[str, Any] = {
    **_PLAIN,
    "image_size": 80,
    # Shares of image_size, and of the epochs.
    "train_sizes": ((0.4, 50), (0.6, 40), (0.8, 30), (1.0, 20)),
    # By the number of images: num_epochs.
    "epochs": None,
    "optimizer": "muon",
    "learning_rate": 6e-3,
    # The average is ahead of the weights until the rate has fallen, and as good at the end.
    "ema": 0.998,
    "test_time_flip": True,
}
# From scratch: the images that a training sees in all, and the bounds of its epochs (docs/recipes.md).
_IMAGES_SEEN, _FEWEST_EPOCHS, _MOST_EPOCHS = 160_000, 100, 400
# From scratch, in place of the rate for Muon.
_ADAMW_LEARNING_RATE = 3e-3
# Any model of keras.applications with trained weights.
_FINE_TUNING: Mapping[str, Any] = {
    **_PLAIN,
    "freeze_backbone": True,
    "unfreeze_epochs": 12,
    "image_size": 224,
    "epochs": 30,
    "learning_rate": 3e-3,
    # SAM did better without it (docs/recipes.md).
    "mixup": 0.0,
    "sam_rho": 0.05,
    "test_time_flip": True,
}
_EFFICIENTNET_LITE0: Mapping[str, Any] = {
    **_FINE_TUNING,
    "unfreeze_from": "block08",
    # The model sees objects of its training at about the same size in whole images, which are evaluated, as in crops.
    "train_sizes": ((6 / 7, 1),),
}
# Any model of which the head alone is trained.
_HEAD: Mapping[str, Any] = {"augment": "none", "sam_rho": 0.0}
# Sizes of images are multiples of it, since a network halves them several times.
_MULTIPLE = 16


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of the settings that a recipe decides, each as given or as the recipe has it.

    Args:
        given: all settings of a run by name; None for one that the user has left out.
    """
    weights = given["weights"]
    trained = weights != "none"
    earlier = earlier_run.run_model(weights) if weights not in ("none", "imagenet") else None
    model = given["model"] or (earlier[0] if earlier else EFFICIENTNET_LITE0 if weights == "imagenet" else SMALL_RESNET)
    values = {"model": model, **_recipe(model, trained)}
    frozen = given["freeze_backbone"]
    if frozen is None and ":" in model:
        # A model of the user may have no head of its own.
        frozen = values["freeze_backbone"] = False
    if values["optimizer"] == "muon" and given["optimizer"] == "adamw":
        values["learning_rate"] = _ADAMW_LEARNING_RATE
    if earlier:
        values |= {"image_size": earlier[1], "train_sizes": ()}
    if frozen is False and trained:
        values |= {"learning_rate": values["unfreeze_learning_rate"], "epochs": values["unfreeze_epochs"]}
    if frozen is not None:
        # Whoever freezes the backbone wants the head trained, and nothing else.
        values["unfreeze_epochs"] = 0
    values |= {name: given[name] for name in values if given[name] is not None}
    if values["freeze_backbone"] and not values["unfreeze_epochs"]:
        # The head alone, on features that are computed once.
        values |= {name: value for name, value in _HEAD.items() if given[name] is None}
    if given["train_sizes"] is None:
        values["train_sizes"] = tuple((_scaled(values["image_size"], by), share) for by, share in values["train_sizes"])
    return values


def num_epochs(num_images: int) -> int:
    """Returns the number of epochs of a training from scratch on so many images."""
    return min(max(_IMAGES_SEEN // num_images, _FEWEST_EPOCHS), _MOST_EPOCHS)


def _recipe(model: str, trained: bool) -> Mapping[str, Any]:
    if trained:
        return _EFFICIENTNET_LITE0 if model == EFFICIENTNET_LITE0 else _FINE_TUNING
    return _SCRATCH if model in ANY_SIZE else _PLAIN


def _scaled(size: int, by: float) -> int:
    """Returns a share of a size, rounded; never larger than the size, or smaller than what a network can halve."""
    return min(size, max(2 * _MULTIPLE, round(size * by / _MULTIPLE) * _MULTIPLE)) if by < 1 else size
