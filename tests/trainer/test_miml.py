"""The default recipe on the real data set, in full."""

from pathlib import Path

import pytest

from converter.job.pipeline import convert
from converter.options import ConvertOptions
from trainer.config import TrainConfig
from trainer.train import train_and_evaluate


@pytest.mark.slow
def test_the_default_recipe_reaches_what_it_promises(miml: Path, tmp_path: Path) -> None:
    options = ConvertOptions(
        csv=str(miml / "miml_labels_1.csv"), images=str(miml / "images"), output=str(tmp_path), name="miml"
    )
    info = convert(options)
    assert info is not None
    assert info.num_examples == 2000
    result = train_and_evaluate(TrainConfig(data=(options.dataset,), output=str(tmp_path / "run")))
    assert result["num_examples"] == info.split("validation").num_examples
    assert result["label_ranking_average_precision"] >= 0.90
    assert result["mean_average_precision"] >= 0.86
