"""The default recipe on the real data set, in full."""

import os
from pathlib import Path

import pytest

from converter.options import ConvertOptions
from converter.pipeline import convert
from trainer.config import TrainConfig
from trainer.train import train_and_evaluate


@pytest.mark.slow
@pytest.mark.skipif("MIML_DATASET" not in os.environ, reason="MIML_DATASET does not name the folder of the data set")
def test_the_default_recipe_reaches_what_it_promises(tmp_path: Path) -> None:
    source = Path(os.environ["MIML_DATASET"])
    options = ConvertOptions(
        csv=str(source / "miml_labels_1.csv"), images=str(source / "images"), output=str(tmp_path), name="miml"
    )
    info = convert(options)
    assert info is not None
    assert info.num_examples == 2000
    result = train_and_evaluate(TrainConfig(data=options.dataset, output=str(tmp_path / "run")))
    assert result["num_examples"] == info.split("validation").num_examples
    assert result["label_ranking_average_precision"] >= 0.90
    assert result["mean_average_precision"] >= 0.86
