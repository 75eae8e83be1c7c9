"""Settings that are left out come from the recipe of the model and its weights."""

from typing import Any

import pytest

from multihot.errors import UserError
from trainer import config, phases
from trainer.config import TrainConfig


def _config(**given: Any) -> TrainConfig:
    return TrainConfig(data=("data",), output="run", **given)


def test_without_weights_a_small_network_is_trained_from_scratch_on_images_that_grow() -> None:
    found = _config()
    assert (found.model, found.freeze_backbone, found.unfreeze_epochs) == ("small_resnet", False, 0)
    sizes = [size for size, _ in found.train_sizes]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == found.image_size


@pytest.mark.parametrize(("images", "epochs"), [(1, 400), (123, 400), (800, 200), (1600, 100), (10**6, 100)])
def test_from_scratch_few_images_are_seen_more_often(images: int, epochs: int) -> None:
    assert phases.with_epochs(_config(), images).epochs == epochs
    assert phases.with_epochs(_config(epochs=7), images).epochs == 7
    assert phases.with_epochs(_config(weights="imagenet"), images) == _config(weights="imagenet")


def test_with_weights_the_head_is_trained_first_and_then_the_upper_layers_at_a_lower_rate() -> None:
    found = _config(weights="imagenet")
    assert (found.model, found.freeze_backbone) == ("efficientnet_lite0", True)
    assert found.unfreeze_epochs > 0
    assert found.unfreeze_learning_rate < found.learning_rate


def test_what_is_given_stays() -> None:
    given: dict[str, Any] = {
        "model": "vgg16", "weights": "imagenet", "image_size": 96, "epochs": 3, "augment": "none", "ema": 0.5,
    }  # fmt: skip
    found = _config(**given)
    assert {name: getattr(found, name) for name in given} == given


@pytest.mark.parametrize(("frozen", "unfreeze_epochs"), [(True, 0), (False, 0)])
def test_whoever_says_whether_the_backbone_is_frozen_has_one_phase(frozen: bool, unfreeze_epochs: int) -> None:
    found = _config(weights="imagenet", freeze_backbone=frozen)
    assert found.unfreeze_epochs == unfreeze_epochs
    assert [phase.part for phase in phases.of_run(found)] == ["head" if frozen else "all"]


def test_a_model_of_the_user_is_trained_as_a_whole() -> None:
    for weights in ("none", "model.keras"):
        found = _config(model="my_models:small", weights=weights)
        assert [phase.part for phase in phases.of_run(found)] == ["all"]


def test_all_weights_of_a_pretrained_model_are_trained_at_the_rate_of_unfrozen_ones() -> None:
    tuned = _config(weights="imagenet")
    found = _config(weights="imagenet", freeze_backbone=False)
    assert (found.learning_rate, found.epochs) == (tuned.unfreeze_learning_rate, tuned.unfreeze_epochs)


@pytest.mark.parametrize("size", [32, 48, 64, 100, 160, 224])
def test_sizes_follow_the_size_of_images(size: int) -> None:
    sizes = [each for each, _ in _config(image_size=size).train_sizes]
    assert sizes[-1] == size
    assert sizes == sorted(sizes)
    assert all(each % 16 == 0 for each in sizes[:-1])


def test_phases_follow_one_another() -> None:
    head, upper = phases.of_run(
        _config(weights="imagenet", epochs=5, unfreeze_epochs=4, train_sizes=((96, 1), (128, 3)))
    )
    assert (head.part, head.first_epoch, head.end) == ("head", 0, 5)
    assert (upper.part, upper.first_epoch, upper.end) == ("upper", 5, 9)
    assert [head.image_size(epoch) for epoch in range(5)] == [96] * 5
    assert [upper.image_size(epoch) for epoch in range(5, 9)] == [96, 128, 128, 128]
    assert (head.config.augment, head.config.features_are_fixed) == ("none", True)
    assert not upper.config.freeze_backbone
    assert upper.config.learning_rate < head.config.learning_rate
    # The loss of a head has one minimum.
    assert (head.config.sam_rho, upper.config.sam_rho) == (0.0, 0.05)


@pytest.mark.parametrize(
    ("settings", "blended"),
    [
        ({"epochs": 100}, 85),
        ({"epochs": 1}, 1),
        ({"epochs": 7}, 6),
        ({"epochs": 100, "mixup_until": 0.07}, 7),
        ({"epochs": 100, "mixup_until": 1.0}, 100),
        ({"epochs": 100, "augment": "crop"}, 0),
        ({"epochs": 100, "mixup": 0.0}, 0),
    ],
)
def test_mixup_ends_before_the_last_epochs(settings: dict[str, Any], blended: int) -> None:
    (phase,) = phases.of_run(_config(**settings))
    shares = [phase.mixup(epoch) for epoch in range(phase.end)]
    assert shares == [phase.config.mixup] * blended + [0.0] * (phase.end - blended)


def test_mixup_ends_within_the_phase_of_the_upper_layers() -> None:
    head, upper = phases.of_run(_config(weights="imagenet", epochs=5, unfreeze_epochs=4, mixup=0.2, mixup_until=0.5))
    assert [head.mixup(epoch) for epoch in range(5)] == [0.0] * 5
    assert [upper.mixup(epoch) for epoch in range(5, 9)] == [0.2, 0.2, 0.0, 0.0]


def test_each_optimizer_has_a_rate_of_its_own_from_scratch() -> None:
    assert (_config().optimizer, _config().learning_rate) == ("muon", 6e-3)
    assert _config(optimizer="adamw").learning_rate == 3e-3
    assert _config(optimizer="adamw", learning_rate=1e-3).learning_rate == 1e-3
    # Other recipes have that of AdamW already.
    for model in ({"weights": "imagenet"}, {"model": "resnet50"}):
        assert _config(**model).optimizer == "adamw"
        assert _config(**model, optimizer="adamw").learning_rate == _config(**model).learning_rate


@pytest.mark.parametrize("given", [{"freeze_backbone": True}, {"unfreeze_epochs": 0}])
def test_a_head_alone_is_trained_on_fixed_features_and_without_sam(given: dict[str, Any]) -> None:
    found = _config(weights="imagenet", **given)
    assert (found.sam_rho, found.augment) == (0, "none")
    assert found.features_are_fixed
    assert [phase.part for phase in phases.of_run(found)] == ["head"]
    asked = _config(weights="imagenet", **given, sam_rho=0.1, augment="crop")
    assert (asked.sam_rho, asked.augment) == (0.1, "crop")


def test_weights_of_a_backbone_are_trained_with_sam() -> None:
    assert _config(weights="imagenet", freeze_backbone=False).sam_rho > 0
    assert _config().sam_rho == 0


@pytest.mark.parametrize(
    ("epochs", "sizes", "expected"),
    [
        pytest.param(6, ((32, 50), (48, 25), (64, 25)), [32, 32, 32, 48, 64, 64], id="in proportion"),
        pytest.param(1, ((32, 50), (64, 50)), [64], id="one epoch"),
        pytest.param(3, (), [64, 64, 64], id="one size"),
    ],
)
def test_each_size_has_its_share_of_the_epochs(epochs: int, sizes: Any, expected: list[int]) -> None:
    assert phases.sizes(_config(image_size=64, epochs=epochs, train_sizes=sizes)) == expected


def test_sizes_are_parsed() -> None:
    assert config.parse_sizes(["32x50", "64X2.5"]) == ((32, 50.0), (64, 2.5))
    with pytest.raises(UserError) as caught:
        config.parse_sizes(["32:50"])
    assert str(caught.value).endswith("as in 32x50,64x30. Received: 32:50")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"train_sizes": ((96, 1),), "image_size": 64},
            "--train_sizes must be at most --image_size. Received: 96 and 64",
            id="larger than the images of the evaluation",
        ),
        pytest.param({"train_sizes": ((32, 0),)}, "--train_sizes must be positive. Received: 32x0", id="no share"),
        pytest.param(
            {"unfreeze_epochs": 3},
            "--unfreeze_epochs needs --freeze_backbone: otherwise all is trained from the start.",
            id="nothing frozen",
        ),
        pytest.param(
            {"early_stopping": 3},
            "--early_stopping needs --schedule=constant: with --schedule=cosine the best epochs are the last ones, in "
            "which the learning rate falls. Fewer --epochs end such a run earlier.",
            id="early stopping of a schedule",
        ),
        pytest.param({"ema": 1.0}, "--ema must be at least 0 and less than 1. Received: 1.0", id="weights for ever"),
        pytest.param(
            {"min_crop_area": 0.0}, "--min_crop_area must be more than 0 and at most 1. Received: 0.0", id="no image"
        ),
        pytest.param({"clip_norm": -1.0}, "--clip_norm must be at least 0. Received: -1.0", id="negative norm"),
        pytest.param({"accumulate": 0}, "--accumulate must be at least 1. Received: 0", id="no batches"),
    ],
)
def test_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _config(**changes)
    assert str(caught.value) == message
