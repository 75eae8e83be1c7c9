"""Defines every file name of a dataset.

    <root>/<name>/<version>/
        train/train-00000-of-00008.tfrecord          a folder for each split, with shards and nothing else in it
        index/train/train-00000-of-00008.tfindex
        dataset_info.json  features.json  metadata.json    tensorflow-datasets
        schema.pbtxt  statistics.pb                        TFX, TFDV
        rejects.csv  unlisted.csv                          rejected rows with the reasons; files that no row names
        duplicates.csv                                     images that are the same as others, or nearly
        damaged.csv                                        damaged JPEGs that were kept; only where there are any
        report.html                                        a page for people: counts, charts, images
        made_from/train/train-00000-of-00008.json          digest of the sources of a shard, which is kept if unchanged
        conversion.json                                    time, duration and versions of the conversion
        manifest.json                                      written last: with it, the folder is a dataset
    <root>/<name>/<version>.incomplete/              while it is being written
        attempts/train-00000-of-00008/0a1b.tfrecord    an attempt to write a shard, with its index and its note:
        index/attempts/train-00000-of-00008/0a1b.tfindex
        made_from/attempts/train-00000-of-00008/0a1b.json
        assembled/                                     on this machine, the dataset before it gets its name

Paths are strings with '/': they may lie in a store (`gs://...`).
"""

import posixpath
import re
from collections.abc import Iterable

SHARD_ENDING = ".tfrecord"
INDEX = "index"
MANIFEST = "manifest.json"
REJECTS = "rejects.csv"
UNLISTED = "unlisted.csv"
DUPLICATES = "duplicates.csv"
DAMAGED = "damaged.csv"
REPORT = "report.html"
MADE_FROM = "made_from"
_ATTEMPTS = "attempts"
CONVERSION = "conversion.json"
TFDS_INFO = "dataset_info.json"
TFDS_FEATURES = "features.json"
TFDS_METADATA = "metadata.json"
TFX_SCHEMA = "schema.pbtxt"
TFX_STATISTICS = "statistics.pb"

# tensorflow-datasets splits names at dashes, and recognizes the folder of a version by its three numbers.
_NAME = re.compile(r"[a-zA-Z]\w*", re.ASCII)
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_SHARD = re.compile(r"(\w+)/\1-\d{5,}-of-\d{5,}" + re.escape(SHARD_ENDING), re.ASCII)

# The files that every dataset has, without shards, their indexes, and their files in made_from/.
_ALWAYS = (
    TFDS_INFO,
    TFDS_FEATURES,
    TFDS_METADATA,
    TFX_SCHEMA,
    TFX_STATISTICS,
    REJECTS,
    UNLISTED,
    DUPLICATES,
    REPORT,
    CONVERSION,
    MANIFEST,
)


def is_name(text: str) -> bool:
    """Whether a dataset can have this name: a letter, then letters, digits and underscores."""
    return _NAME.fullmatch(text) is not None


def is_split(text: str) -> bool:
    """Whether a split can have this name: one of a dataset, but not that of another folder."""
    return is_name(text) and text not in (INDEX, MADE_FROM)


def is_version(text: str) -> bool:
    """Whether a dataset can have this version: three numbers, as in 1.0.0."""
    return _VERSION.fullmatch(text) is not None


def dataset_dir(root: str, name: str, version: str) -> str:
    """Returns the folder of the finished dataset."""
    return posixpath.join(root, name, version)


def incomplete_dir(dataset: str) -> str:
    """Returns the folder of an unfinished dataset, whose name no reader takes for a version."""
    return f"{dataset}.incomplete"


def assembled_dir(incomplete: str) -> str:
    """Returns the folder, in an unfinished dataset of this machine, in which the last step assembles the dataset.

    Attempts to write a shard never write into it, however late they are.
    """
    return f"{incomplete}/assembled"


def replaced_dir(dataset: str) -> str:
    """Returns the folder to which a dataset is moved while a new one takes its place."""
    return f"{dataset}.replaced"


def shard(split: str, index: int, num_shards: int) -> str:
    """Returns a shard's path in the dataset, e.g. `train/train-00000-of-00008.tfrecord`."""
    return f"{split}/{split}-{index:05d}-of-{num_shards:05d}{SHARD_ENDING}"


def is_shard(path: str) -> bool:
    """Whether this is the path of a shard in a dataset. Such a path never leads out of the dataset's folder."""
    found = _SHARD.fullmatch(path)
    return found is not None and is_split(found[1])


def shard_index(shard_path: str) -> str:
    """Returns the path in the dataset of a shard's index."""
    return f"{INDEX}/{shard_path.removesuffix(SHARD_ENDING)}.tfindex"


def shard_files(shard_path: str) -> tuple[str, str]:
    """Returns the paths in the dataset of a shard and of its index."""
    return shard_path, shard_index(shard_path)


def shard_origin(shard_path: str) -> str:
    """Returns the path in the dataset of the note about the sources of a shard."""
    return f"{MADE_FROM}/{shard_path.removesuffix(SHARD_ENDING)}.json"


def attempt(shard_path: str, name: str) -> str:
    """Returns the path, in the incomplete dataset, of an attempt to write a shard; "" is the folder of all attempts.

    Each attempt has a name of its own: one that comes late, from another machine or an earlier run, replaces no file.
    """
    folder = f"{_ATTEMPTS}/{posixpath.basename(shard_path).removesuffix(SHARD_ENDING)}"
    return f"{folder}/{name}{SHARD_ENDING}" if name else folder


def files(shard_paths: Iterable[str]) -> set[str]:
    """Returns the paths of all files that a dataset with these shards has."""
    return {*_ALWAYS, *(path for shard_path in shard_paths for path in shard_files(shard_path))}


def may_have(path: str) -> bool:
    """Whether a dataset may have this further file. Notes about shards are allowed under any number."""
    return path == DAMAGED or path.startswith(f"{MADE_FROM}/")
