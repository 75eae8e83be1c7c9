"""Writes the JSON files by which tensorflow-datasets opens a dataset, without importing tensorflow-datasets.

    builder = tfds.builder_from_directory(directory)

`dataset_info.json` is protobuf JSON, where an unknown key is an error; `shardLengths` must be exact, since a wrong one
fails only at the end of an epoch. (Read from tensorflow-datasets 4.9: `core/dataset_info.py`, `core/features`.)
"""

import json
from typing import Any

from schemas import example, layout
from schemas.metadata import DatasetInfo
from schemas.statistics import JPEG

# Formats that TFDS decodes to four dimensions, which do not match its own shape. If a dataset has one of them, its
# images are declared as encoded bytes.
_NOT_DECODED = {"gif", "webp"}
_FEATURES = "tensorflow_datasets.core.features"


def files(info: DatasetInfo) -> dict[str, str]:
    """Returns the text of each file by its name in the dataset."""
    return {
        name: json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, content in (
            (layout.TFDS_INFO, _dataset_info(info)),
            (layout.TFDS_FEATURES, _features(info)),
            (layout.TFDS_METADATA, {"label_names": list(info.classes)}),
        )
    }


def _dataset_info(info: DatasetInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "version": info.version,
        "description": f"{info.num_examples} images with the multi-hot labels {', '.join(info.classes)}.",
        "fileFormat": "tfrecord",
        "moduleName": "multihot",
        "supervisedKeys": {"tuple": {"items": [{"featureKey": example.IMAGE}, {"featureKey": example.LABELS}]}},
        "splits": [
            {
                "name": split.name,
                "filepathTemplate": "{SPLIT}/{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "shardLengths": [str(shard.num_examples) for shard in split.shards],
                "numBytes": str(sum(shard.num_bytes for shard in split.shards)),
            }
            for split in info.splits
        ],
    }


def _features(info: DatasetInfo) -> dict[str, Any]:
    def tensor(feature: example.Feature) -> dict[str, Any]:
        dimensions = {"dimensions": [str(size) for size in feature.shape]} if feature.shape else {}
        return {
            "pythonClassName": f"{_FEATURES}.tensor_feature.Tensor",
            "tensor": {"shape": dimensions, "dtype": feature.dtype, "encoding": "none"},
        }

    special = {example.FILENAME: {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}}}
    if not _NOT_DECODED & info.statistics.formats.keys():
        special[example.IMAGE] = {
            "pythonClassName": f"{_FEATURES}.image_feature.Image",
            # The format is only used to encode images: TFDS decodes every format that TensorFlow decodes.
            "image": {
                "shape": {"dimensions": ["-1", "-1", "3"]},
                "dtype": "uint8",
                "encodingFormat": JPEG,
            },
        }
    return {
        "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                feature.key: special.get(feature.key) or tensor(feature)
                for feature in example.features(len(info.classes), info.has_unknown)
            }
        },
    }
