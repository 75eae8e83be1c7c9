"""MODEL_CARD.md has the facts of a run, is well-formed Markdown and YAML, and its lines load the model."""

import dataclasses
import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import markdown
import numpy as np
import pytest
import yaml
from PIL import Image

from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Moments, Statistics
from trainer import metrics, run_folder
from trainer.config import TrainConfig
from trainer.input import resizing
from trainer.metrics import Predictions
from trainer.report import model_card
from trainer.sources import Sources, combine

GOLDEN = Path(__file__).with_name("model_card.md")
CLASSES = ("desert", "sea|lake", "*sunset*", "trees")


def _split(name: str, number: int, positives: tuple[int, ...], unknown: tuple[int, ...] = ()) -> SplitInfo:
    statistics = Statistics(
        positives=positives,
        unknown=unknown,
        width=Moments.of_all([320, 480]),
        height=Moments.of_all([240, 256]),
        example_bytes=Moments.of_all([1000] * number),
    )
    shard = ShardInfo(path=f"{name}/{name}-00000-of-00001.tfrecord", num_examples=number, num_bytes=9, sha256=name)
    return SplitInfo(name=name, shards=(shard,), statistics=statistics)


INFO = DatasetInfo(
    name="miml",
    version="1.0.0",
    classes=CLASSES,
    splits=(_split("train", 1600, (320, 480, 8, 800)), _split("validation", 400, (80, 120, 0, 4))),
    rejects={"missing_image": 3},
    leaks={"num_groups": 2, "num_images": 5},
)
# With all that a recipe decides, so that the card is the same with other recipes.
CONFIG = TrainConfig(
    data=("data/miml/1.0.0",), output="runs/first", model="small_resnet", epochs=40, learning_rate=0.003,
    image_size=80, train_sizes=((48, 1.0), (80, 1.0)), augment="full", min_crop_area=0.3, freeze_backbone=False,
    unfreeze_epochs=0, unfreeze_from="0.5", unfreeze_learning_rate=0.0005, label_smoothing=0.0, ema=0.0,
    mixup_until=0.85, test_time_flip=True, batch_size=32, weight_decay=0.05, schedule="cosine",
)  # fmt: skip
DESCRIPTION: dict[str, Any] = {
    **json.loads(json.dumps(dataclasses.asdict(CONFIG))),
    "commands": [{"command": "python -m trainer --data=data --output=a", "started": "2026-01-02T03:04:05+00:00"}],
    "num_weights": {"total": 1231717, "trained": 1229797},
    "versions": {"multihot": "0.1.0", "python": "3.11.7", "tensorflow": "2.20.0", "keras": "3.12.0", "numpy": "2.3.0"},
    "revisions": {"multihot": {"commit": "0123456789abcdef", "modified": True}},
    "environment": {
        "device": "CPU (2 cores)",
        "system": "Linux 6.1 x86_64",
        "processor": "AMD EPYC",
        "cores": 2,
        "memory_gb": 16.8,
        "gpus": [],
    },
}  # fmt: skip
EVALUATION: dict[str, Any] = {
    "num_examples": 400,
    "mean_average_precision": 0.75,
    "average_precision": {"desert": 0.9, "sea|lake": 0.8, "*sunset*": None, "trees": 0.55},
    "label_ranking_average_precision": 0.85,
    "one_error": 0.125,
    "coverage": 1.5,
    "ranking_loss": 0.0625,
    "f1": 0.7,
    "hamming_loss": 0.1,
}


def _card(
    description: dict[str, Any] | None = None, evaluation: dict[str, Any] | None = None, *infos: DatasetInfo
) -> str:
    data = combine([(f"data/{i}", info) for i, info in enumerate(infos or (INFO,))])
    return model_card.text("first", {**DESCRIPTION, **(description or {})}, {**EVALUATION, **(evaluation or {})}, data)


def _tables(card: str) -> list[list[list[str]]]:
    """Returns the cells of each table, as a browser shows them."""
    body = card.split("---\n", 2)[2]
    rendered = markdown.markdown(body, extensions=["tables", "fenced_code"])
    # A line that looks like a row and became none is still text.
    assert "| ---" not in rendered
    assert not re.search(r"^\|", rendered, re.MULTILINE)
    return [
        [[html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<t[dh].*?>(.*?)</t[dh]>", row)]
         for row in re.findall("<tr>(.*?)</tr>", table, re.DOTALL)]
        for table in re.findall("<table>(.*?)</table>", rendered, re.DOTALL)
    ]  # fmt: skip


def test_the_card_of_a_run() -> None:
    assert _card() == GOLDEN.read_text(encoding="utf-8")


def test_its_metadata_are_those_of_the_hub() -> None:
    found = yaml.safe_load(_card().split("---\n")[1])
    assert found["license"] is None  # To be completed.
    assert (found["library_name"], found["pipeline_tag"]) == ("keras", "image-classification")
    ((result),) = found["model-index"][0]["results"]
    assert found["model-index"][0]["name"] == "first"
    assert result["dataset"] == {"type": "miml", "name": "miml 1.0.0", "split": "validation"}
    assert {one["type"]: one["value"] for one in result["metrics"]} == {
        name: value for name, value in EVALUATION.items() if isinstance(value, float)
    }


def test_its_tables_are_well_formed_and_show_the_names_of_classes() -> None:
    tables = _tables(_card())
    assert len(tables) == 7
    for table in tables:
        assert len({len(row) for row in table}) == 1
    assert [row[0] for row in tables[2][1:]] == [row[0] for row in tables[5][1:]] == list(CLASSES)
    assert tables[2][2] == ["sea|lake", "480", "30.0%", "120", "30.0%"]
    assert tables[5][3] == ["*sunset*", "undefined", "0", "0.0000"]


def test_limits_name_leaks_rare_classes_and_rejects() -> None:
    limits = _card().split("## Limits")[1].split("##")[0]
    assert "5 images that are the same or nearly the same, in 2 groups, are in several splits" in limits
    assert "no image or all images of the split show them: &#42;sunset&#42;." in limits
    assert "uncertain: trees." in limits
    assert "3 rows of the table of labels were rejected" in limits
    clean = dataclasses.replace(INFO, leaks={"num_groups": 0, "num_images": 0}, rejects={})
    limits = _card(None, None, clean).split("## Limits")[1].split("##")[0]
    assert "No images are known that are the same or nearly the same and in several splits." in limits
    assert "rejected" not in limits


def test_unknown_labels_are_counted() -> None:
    splits = (
        _split("train", 1600, (320, 480, 8, 800), (0, 30, 0, 1)),
        _split("validation", 400, (80, 100, 0, 4), (0, 150, 0, 0)),
    )
    card = _card(None, None, dataclasses.replace(INFO, splits=splits))
    assert "Some labels are unknown: 31 in `train` and 150 in `validation`." in card
    # 100 of the 250 images whose label is known.
    assert _tables(card)[2][2] == ["sea|lake", "480", "30.6%", "100", "40.0%", "30", "150"]


def test_several_data_sets_are_listed() -> None:
    other = dataclasses.replace(INFO, name="coast", splits=(_split("train", 10, (1, 2, 3, 4)),), leaks={})
    card = _card({"data_weights": [3.0, 1.0]}, None, INFO, other)
    assert [row[0] for row in _tables(card)[1]] == ["data set", "miml 1.0.0", "coast 1.0.0"]
    assert _tables(card)[1][2][2:] == ["10", "0"]
    assert "with weights 3, 1." in card
    assert "Nobody has looked for images that are the same in several of the data sets." in card


def test_only_the_most_frequent_of_many_classes_are_in_the_tables() -> None:
    classes = tuple(f"class {i}" for i in range(1000))
    splits = (_split("train", 9999, tuple(range(1000))), _split("validation", 100, (50,) * 1000))
    info = dataclasses.replace(INFO, classes=classes, splits=splits)
    card = _card(None, {"average_precision": dict.fromkeys(classes, 0.5)}, info)
    assert [row[0] for row in _tables(card)[5][1:]] == list(classes[800:])
    assert len(card) < 60_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"weights": "imagenet", "unfreeze_epochs": 8, "epochs": 40, "unfreeze_from": "block08",
                      "train_sizes": [[160, 1.0], [224, 1.0]], "image_size": 224},
                     ["those of ImageNet", "The head was trained for 40 epochs, with the backbone frozen; then the "
                      "backbone from the layer block08 on with it, for 8 epochs.",
                      "Training images had 160, 224 pixels, those of the evaluation 224."], id="fine-tuned"),
        pytest.param({"train_sizes": [[192, 1.0]], "image_size": 224, "augment": "full", "mixup": 0.2,
                      "mixup_until": 0.85},
                     ["Training images had 192 pixels, those of the evaluation 224.", "| `mixup` | 0.2 |",
                      "| `mixup_until` | 0.85 |"],
                     id="trained on smaller images"),
        pytest.param({"unfreeze_epochs": 8, "unfreeze_from": "0.5"}, ["above the first 50% of its layers"], id="half"),
        pytest.param({"freeze_backbone": True}, ["The head was trained, with the backbone frozen."], id="frozen"),
        pytest.param({"loss": "categorical_crossentropy"}, ["(softmax)", "Probabilities add up to 1"], id="a softmax"),
        pytest.param({"early_stopping": 3, "schedule": "constant"}, ["(early stopping)"], id="early stopping"),
        pytest.param({"model": "my_package.models:build"}, ["layers of your own"], id="a model of the user"),
        pytest.param({"commands": [{"command": f"run {i} ```", "started": "2026-01-02"} for i in range(2)]},
                     ["went on", "````\nrun 0 ```\nrun 1 ```\n````"], id="a run that went on"),
        pytest.param({"commands": [], "num_weights": None, "environment": {}, "revisions": {}}, ["small_resnet"],
                     id="a run of an older version"),
    ],
)  # fmt: skip
def test_what_differs_between_runs_is_said(changes: dict[str, Any], words: list[str]) -> None:
    card = _card({name: value for name, value in changes.items() if value is not None})
    if changes.get("num_weights", 1) is None:
        card = model_card.text(
            "a",
            {name: value for name, value in {**DESCRIPTION, **changes}.items() if value not in (None, {}, [])},
            EVALUATION,
            combine([("data", INFO)]),
        )
    for one in words:
        assert one in card, one
    for table in _tables(card):
        assert len({len(row) for row in table}) == 1


def test_the_background_is_that_of_the_data() -> None:
    assert "transparent ones laid on #ff8800." in _card(None, None, dataclasses.replace(INFO, background="#ff8800"))


@pytest.fixture
def saved(tmp_path: Path) -> keras.Model:
    """Returns a model whose outputs are the pixels of an image, saved in a folder beside a photograph."""
    network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()])
    network.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    Image.fromarray(pixels).resize((60, 90), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg", quality=95)
    return network


def _code(card: str) -> str:
    (code,) = re.findall("```python\n(.*?)\n```", card, re.DOTALL)
    return code


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("flip", [False, True], ids=["", "and its mirror image"])
def test_its_lines_load_the_model_and_give_it_the_image_of_the_training(
    resize: str, flip: bool, saved: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(_code(_card({"image_size": 16, "resize": resize, "test_time_flip": flip})), names)
    scores = names["scores"].reshape(16, 16, 3)
    if flip:
        np.testing.assert_allclose(scores, scores[:, ::-1], atol=1e-6)
    if resize == "stretch" and not flip:
        with Image.open("photo.jpg") as picture:
            expected = resizing.antialiased(np.asarray(picture), 16)
        assert np.abs(scores * 255 - np.asarray(expected, np.float32)).mean() < 2
    if resize == "pad" and not flip:
        assert np.all(scores[:, 0] == 0)
        assert scores[:, 8].mean() > 0.2


@pytest.mark.slow
def test_its_lines_need_keras_alone(saved: keras.Model, tmp_path: Path) -> None:
    program = _code(_card({"image_size": 16})) + "\nimport sys\nprint(scores.shape, 'trainer' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "(768,) False"


def test_it_is_written_beside_the_model(config: Callable[..., TrainConfig], sources: Sources, tmp_path: Path) -> None:
    labels = np.eye(4, dtype=bool)
    evaluation = metrics.evaluate(Predictions(labels=labels, scores=labels * 0.5), sources.classes)
    asked = config(output=str(tmp_path))
    (tmp_path / run_folder.CONFIG).write_text(json.dumps({**DESCRIPTION, **dataclasses.asdict(asked)}))
    model_card.write(tmp_path, evaluation, sources)
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"# {tmp_path.name}\n" in card
    assert "| blue |" in card
