"""Defines DatasetInfo, the content of manifest.json: the description of a dataset.

The manifest has everything that a reader needs (classes, splits, shards and their numbers of examples), so that no
file has to be scanned. It has no times or paths of the conversion, so that the same data gives the same bytes.
"""

import dataclasses
import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Self

from multihot import storage
from multihot.errors import UserError
from schemas import digest, layout, typed
from schemas.statistics import Statistics
from schemas.tfrecord import FRAMING_BYTES

# The highest version, which is that of datasets with unknown labels: older readers would take these for negatives.
# Other datasets have version 1. To be raised when older readers would misread the format; readers refuse a higher one.
FORMAT_VERSION = 2
# The key of a manifest that says, in a store, that its dataset is being published.
PUBLISHING = "publishing"
# Folders in which datasets are looked for, where a folder is none.
_MOST_FOLDERS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One shard.

    Attributes:
        path: relative to the dataset's folder.
        num_examples: number of its records.
        num_bytes: size of the records, without framing.
        sha256: hex digest of the whole file.
    """

    path: str
    num_examples: int
    num_bytes: int
    sha256: str

    @property
    def file_bytes(self) -> int:
        """The size of the file, with framing."""
        return self.num_bytes + self.num_examples * FRAMING_BYTES


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """One split: its shards in order, and the statistics of all its examples."""

    name: str
    shards: tuple[ShardInfo, ...]
    statistics: Statistics

    @property
    def num_examples(self) -> int:
        """Number of examples in the split."""
        return sum(shard.num_examples for shard in self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The description of a whole dataset.

    Attributes:
        name: e.g. `miml`.
        version: e.g. `1.0.0`.
        classes: names of the classes, in the order of the label vector.
        splits: in the order of the flags.
        rejects: number of rejected rows by reason.
        unlisted: number of files in the folder of images that no row named.
        leaks: duplicates in more than one split: the number of their groups, `num_groups`, and of images in these,
            `num_images`.
        resize_shorter: pixels to which the shorter side of larger images was reduced; 0 if images were not resized.
        jpeg_quality: quality of JPEGs from images that were encoded again, since they were resized, oriented or
            damaged; 0 if there are none.
        damaged: number of damaged JPEGs that were kept.
        merged_rows: number of rows whose labels have become part of those of an earlier row, which names the same file.
        augmented: number of images that have, by the names of the files, augmented versions in several splits.
        corrected: number of labels that were corrected, so that they differ from those of the table.
        featured: number of images that were compared by features too, since a file has a row for them.
        unused_features: number of rows of that file that name no image.
        background: the colour on which images with transparency were laid; "" if there are none.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    splits: tuple[SplitInfo, ...]
    rejects: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unlisted: int = 0
    leaks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    resize_shorter: int = 0
    jpeg_quality: int = 0
    damaged: int = 0
    merged_rows: int = dataclasses.field(default=0, metadata=typed.SPARSE)
    augmented: int = dataclasses.field(default=0, metadata=typed.SPARSE)
    corrected: int = dataclasses.field(default=0, metadata=typed.SPARSE)
    featured: int = dataclasses.field(default=0, metadata=typed.SPARSE)
    unused_features: int = dataclasses.field(default=0, metadata=typed.SPARSE)
    background: str = dataclasses.field(default="", metadata=typed.SPARSE)

    @property
    def num_examples(self) -> int:
        """Number of examples in all splits."""
        return sum(split.num_examples for split in self.splits)

    @property
    def statistics(self) -> Statistics:
        """The statistics of all splits together."""
        return sum((split.statistics for split in self.splits), Statistics(positives=(0,) * len(self.classes)))

    @property
    def has_unknown(self) -> bool:
        """Whether the records have the feature `labels/known`, since the dataset was made from unknown labels."""
        return any(split.statistics.unknown for split in self.splits)

    @property
    def format_version(self) -> int:
        """The version of the format of this dataset."""
        return FORMAT_VERSION if self.has_unknown else 1

    @property
    def fingerprint(self) -> str:
        """Hex digest of the contents: equal for two datasets if and only if training sees the same examples in both.

        It covers classes, splits and the bytes of every shard, but not the name and the version.
        """
        contents = [list(self.classes), [[split.name, [s.sha256 for s in split.shards]] for split in self.splits]]
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()

    def split(self, name: str) -> SplitInfo:
        """Returns the split of this name.

        Raises:
            UserError: the dataset has no such split; the message lists those it has.
        """
        for split in self.splits:
            if split.name == name:
                return split
        names = ", ".join(split.name for split in self.splits)
        raise UserError(f"Dataset {self.name} {self.version} has no split {name!r}. It has: {names}.")

    def to_json(self) -> str:
        """Returns the text of manifest.json."""
        fields = {"format_version": self.format_version, "fingerprint": self.fingerprint, **typed.plain(self)}
        # The fingerprint covers only the data for training. This digest also covers counts.
        return json.dumps(digest.add(fields, escaped=True), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Returns the description from the text of manifest.json.

        Raises:
            UserError: a newer version of multihot wrote the text, or it is damaged.
        """
        try:
            fields = json.loads(text)
            if PUBLISHING in fields:
                raise UserError("The dataset is being published by a conversion that has not finished. Run it again.")
            version = fields["format_version"]
            if version > FORMAT_VERSION:
                raise UserError(
                    f"The manifest has format version {version}; this multihot reads up to {FORMAT_VERSION}. "
                    "Install a newer multihot."
                )
            fields, is_intact = digest.remove(fields, escaped=True)
            info: Self = typed.build(fields, cls)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(f"The manifest is damaged: {type(error).__name__}: {error}. Convert again.") from error
        # Older versions wrote no digest.
        if is_intact is False or info.fingerprint != fields.get("fingerprint"):
            raise UserError(
                "The manifest was edited or damaged: its sha256 or its fingerprint does not match its contents. "
                "Convert again."
            )
        info._check_names()
        return info

    def _check_names(self) -> None:
        """Checks the names that are parts of paths, and that the names of splits and of classes differ.

        Readers join the folder of a dataset with paths from the manifest. A manifest of unknown origin must not lead
        them to files outside of the folder.

        Raises:
            UserError: a split or a shard has a name that no conversion gives, or a name occurs twice.
        """
        splits = tuple(split.name for split in self.splits)
        for kind, names in (("splits", splits), ("classes", self.classes)):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise UserError(f"The manifest is damaged: {kind} has the name {twice[0]!r} twice. Convert again.")
        try:
            "".join(self.classes).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"The manifest is damaged: the name of a class is no text: {error}") from error
        for split in self.splits:
            if not layout.is_split(split.name):
                raise UserError(
                    f"The manifest is damaged: no split can have the name {split.name[:200]!r}. Convert again."
                )
            for i, shard in enumerate(split.shards):
                path = layout.shard(split.name, i, len(split.shards))
                if shard.path != path:
                    raise UserError(
                        f"The manifest is damaged: the path of a shard must be {path!r}. "
                        f"Received: {shard.path[:200]!r}. Convert again."
                    )


def load(directory: str) -> DatasetInfo:
    """Reads the manifest of a dataset.

    Args:
        directory: `<root>/<name>/<version>`, local or in a store.

    Raises:
        UserError: there is no finished dataset, or its manifest cannot be read.
    """
    path = posixpath.join(directory, layout.MANIFEST)
    try:
        text = storage.read(path).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(_no_dataset(directory)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}") from error
    try:
        return DatasetInfo.from_json(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _no_dataset(directory: str) -> str:
    """Returns the message that a folder is not a dataset, with the datasets below it."""
    if storage.folder_exists(layout.incomplete_dir(directory.rstrip("/"))):
        return f"{directory} is not a dataset yet: its conversion has not finished. Run the converter again."
    found = list(_datasets(directory))
    if found:
        return f"{directory} is not a dataset, but these are: {', '.join(found)}."
    return f"{directory} is not a dataset: it has no {layout.MANIFEST}. Make one with `python -m converter`."


def _datasets(directory: str) -> Iterator[str]:
    """Yields the datasets in a folder, and in the first folders of it: a bucket may have any number of folders."""
    names = storage.list_folders(directory)
    below = ((name, each) for name in names[:_MOST_FOLDERS] for each in storage.list_folders(f"{directory}/{name}"))
    for parts in (*((name,) for name in names), *below):
        path = posixpath.join(directory, *parts)
        if layout.is_version(parts[-1]) and storage.exists(posixpath.join(path, layout.MANIFEST)):
            yield path
