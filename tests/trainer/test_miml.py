"""Both recipes on the real data set, with fewer epochs and smaller images than their defaults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converter.job.pipeline import convert
from converter.options import ConvertOptions
from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.models import pretrained
from trainer.train import train_and_evaluate

Learn = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def learn(miml: Path, tmp_path_factory: pytest.TempPathFactory) -> Learn:
    """Trains on the data set with some settings, and returns the evaluation."""
    folder = tmp_path_factory.mktemp("miml")
    options = ConvertOptions(
        csv=str(miml / "miml_labels_1.csv"), images=str(miml / "images"), output=str(folder), name="miml"
    )
    info = convert(options)
    assert isinstance(info, DatasetInfo)
    assert info.num_examples == 2000

    def train(name: str, **settings: Any) -> dict[str, Any]:
        result = train_and_evaluate(TrainConfig(data=(options.dataset,), output=str(folder / name), **settings))
        assert result["num_examples"] == info.split("validation").num_examples
        return result

    return train


@pytest.mark.slow
def test_a_short_training_from_scratch_learns(learn: Learn) -> None:
    result = learn("scratch", epochs=5)
    assert result["mean_average_precision"] >= 0.70
    assert result["label_ranking_average_precision"] >= 0.75


@pytest.mark.slow
@pytest.mark.skipif(not pretrained.is_installed(), reason="needs the extra `pretrained`")
def test_a_short_training_from_imagenet_learns_more(learn: Learn) -> None:
    result = learn("pretrained", weights="imagenet", unfreeze_epochs=1, image_size=128)
    assert result["mean_average_precision"] >= 0.92
    assert result["label_ranking_average_precision"] >= 0.92
