"""Files for tensorflow-datasets, word for word: it refuses an unknown key, and a wrong count only after an epoch."""

import json

from schemas import tfds
from schemas.metadata import DatasetInfo

_TENSOR = "tensorflow_datasets.core.features.tensor_feature.Tensor"


def test_writes_three_files_and_no_other(info: DatasetInfo) -> None:
    assert list(tfds.files(info)) == ["dataset_info.json", "features.json", "metadata.json"]


def test_dataset_info(info: DatasetInfo) -> None:
    assert json.loads(tfds.files(info)["dataset_info.json"]) == {
        "name": "tiny",
        "version": "1.2.3",
        "description": "4 images with the multi-hot labels desert, 바다.",
        "fileFormat": "tfrecord",
        "moduleName": "multihot",
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "labels"}]}},
        "splits": [
            {
                "name": "train",
                "filepathTemplate": "{SPLIT}/{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "shardLengths": ["2", "1"],
                "numBytes": "1900",
            },
            {
                "name": "test",
                "filepathTemplate": "{SPLIT}/{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "shardLengths": ["1"],
                "numBytes": "500",
            },
        ],
    }


def test_features(info: DatasetInfo) -> None:
    scalar = {"pythonClassName": _TENSOR, "tensor": {"shape": {}, "dtype": "int64", "encoding": "none"}}
    assert json.loads(tfds.files(info)["features.json"]) == {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
                    "image": {
                        "shape": {"dimensions": ["-1", "-1", "3"]},
                        "dtype": "uint8",
                        "encodingFormat": "jpeg",
                    },
                },
                "image/height": scalar,
                "image/width": scalar,
                "labels": {
                    "pythonClassName": _TENSOR,
                    "tensor": {"shape": {"dimensions": ["2"]}, "dtype": "int64", "encoding": "none"},
                },
                "filename": {
                    "pythonClassName": "tensorflow_datasets.core.features.text_feature.Text",
                    "text": {},
                },
            }
        },
    }


def test_a_feature_says_which_labels_are_known(info: DatasetInfo, partly_known: DatasetInfo) -> None:
    features, plain = (
        json.loads(tfds.files(one)["features.json"])["featuresDict"]["features"] for one in (partly_known, info)
    )
    assert features == {**plain, "labels/known": plain["labels"]}
    assert [key for key in features if key.startswith("labels")] == ["labels", "labels/known"]


def test_metadata_has_the_names_of_the_classes(info: DatasetInfo) -> None:
    assert tfds.files(info)["metadata.json"] == '{\n "label_names": [\n  "desert",\n  "바다"\n ]\n}\n'
