"""Reads the manifests of the datasets of a run, and combines several datasets into one."""

import contextlib
import dataclasses
import posixpath
from collections.abc import Collection, Iterator, Sequence

from multihot import storage
from multihot.errors import UserError
from multihot.quiet import tensorflow
from schemas import metadata
from schemas.metadata import DatasetInfo, SplitInfo
from schemas.statistics import Statistics
from trainer.config import TrainConfig

# Classes, and shards, that a message names.
_MOST_NAMES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset as a run uses it.

    Attributes:
        directory: of the dataset.
        info: its manifest.
        labels: for each class of the run, its index in the label vector of the dataset.
        cache: folder of all caches, where the shards of a dataset in a store are kept.
    """

    directory: str
    info: DatasetInfo
    labels: tuple[int, ...]
    cache: str = ""

    @property
    def has_unknown(self) -> bool:
        """Whether a label of a class of the run is unknown, in any split."""
        unknown = [split.statistics.unknown for split in self.info.splits]
        return any(each[i] for each in unknown if each for i in self.labels)

    def split(self, name: str) -> SplitInfo:
        """Returns the split of this name, with the statistics of all classes; without examples if there is none."""
        found = [split for split in self.info.splits if split.name == name]
        nothing = Statistics(positives=(0,) * len(self.info.classes))
        return found[0] if found else SplitInfo(name=name, shards=(), statistics=nothing)

    def statistics(self, split: str) -> Statistics:
        """Returns the statistics of a split, of the classes of the run."""
        statistics = self.split(split).statistics
        return dataclasses.replace(
            statistics,
            positives=tuple(statistics.positives[i] for i in self.labels),
            unknown=tuple(statistics.unknown[i] for i in self.labels) if statistics.unknown else (),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """All datasets of a run.

    Attributes:
        classes: of the run, in the order of its label vectors.
        each: the datasets, in the order in which they were given.
    """

    classes: tuple[str, ...]
    each: tuple[Source, ...]

    @property
    def has_unknown(self) -> bool:
        """Whether a label of a class of the run is unknown, in any split of any dataset."""
        return any(source.has_unknown for source in self.each)

    def split(self, name: str) -> SplitInfo:
        """Returns the splits of this name of all datasets together, of the classes of the run."""
        return SplitInfo(
            name=name,
            shards=tuple(shard for source in self.each for shard in source.split(name).shards),
            statistics=sum(
                (source.statistics(name) for source in self.each), Statistics(positives=(0,) * len(self.classes))
            ),
        )

    def having(self, split: str) -> tuple[Source, ...]:
        """Returns the datasets that have examples in the split of this name."""
        return tuple(source for source in self.each if source.split(split).num_examples)


def load(config: TrainConfig) -> Sources:
    """Reads the manifests of a run's datasets.

    Raises:
        UserError: a folder holds no dataset, or the datasets have different classes.
    """
    datasets = [(directory, metadata.load(directory)) for directory in config.data]
    return combine(datasets, config.classes, config.cache_folder)


def combine(datasets: Sequence[tuple[str, DatasetInfo]], classes: tuple[str, ...] = (), cache: str = "") -> Sources:
    """Puts datasets together.

    Args:
        datasets: folders and manifests, at least one.
        classes: to train on, in this order; all datasets must have them. By default the classes of the first dataset;
            the others must then have the same classes, in any order.
        cache: folder of all caches.

    Raises:
        UserError: a class is missing, there are others, or a dataset is given twice.
    """
    first = datasets[0]
    directories: dict[str, str] = {}
    each = []
    for directory, info in datasets:
        if info.fingerprint in directories:
            raise UserError(
                f"--data: {directories[info.fingerprint]} and {directory} are the same dataset. "
                "To use one dataset more often than others, set --data_weights."
            )
        directories[info.fingerprint] = directory
        _check_classes(directory, info, classes, first)
        indices = {name: i for i, name in enumerate(info.classes)}
        labels = tuple(indices[name] for name in classes or first[1].classes)
        each.append(Source(directory=directory, info=info, labels=labels, cache=cache))
    return Sources(classes=classes or first[1].classes, each=tuple(each))


def num_known(statistics: Statistics) -> tuple[int, ...]:
    """Returns for each class the number of examples of which it is known whether they have it."""
    unknown = statistics.unknown or (0,) * len(statistics.positives)
    return tuple(statistics.num_examples - number for number in unknown)


def some(names: Sequence[str]) -> str:
    """Returns the first names for a message, with the number of further ones."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


@contextlib.contextmanager
def damaged_shards_named(data: Sources, splits: Collection[str]) -> Iterator[None]:
    """Checks all shards when reading has failed: the error of TensorFlow does not name the file.

    Args:
        data: the datasets.
        splits: names of those that are read.

    Raises:
        UserError: names the shards that are missing or damaged.
    """
    errors = tensorflow().errors
    try:
        yield
    except (
        errors.DataLossError,
        errors.FailedPreconditionError,
        errors.InvalidArgumentError,
        errors.NotFoundError,
        errors.OutOfRangeError,
    ):
        print("Reading the dataset failed: checking its shards ...")
        for source in data.each:
            there = {split.name for split in source.info.splits}.intersection(splits)
            check_shards(source.directory, source.info, sorted(there))
        raise


def check_shards(directory: str, info: DatasetInfo, splits: Sequence[str]) -> None:
    """Compares the digests of shards with the manifest, after reading them has failed.

    Args:
        directory: of the dataset.
        info: its manifest.
        splits: names of those that were read.

    Raises:
        UserError: names the shards that are missing or damaged.
    """
    shards = [shard for split in splits for shard in info.split(split).shards]
    wrong = [shard.path for shard in shards if _sha256(posixpath.join(directory, shard.path)) != shard.sha256]
    if wrong:
        raise UserError(
            f"{directory}: these shards are missing, or differ from the manifest: {some(wrong)}. "
            "Copy the dataset once more, or convert again."
        )


def _sha256(path: str) -> str:
    try:
        return storage.sha256(path)
    except storage.StoreError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except OSError:
        return "missing"


def _check_classes(directory: str, info: DatasetInfo, classes: tuple[str, ...], first: tuple[str, DatasetInfo]) -> None:
    """Checks that a dataset has the classes to train on; by default exactly those of the first dataset."""
    missing = [name for name in classes or first[1].classes if name not in info.classes]
    more = [name for name in info.classes if not classes and name not in first[1].classes]
    if classes and missing:
        raise UserError(f"--classes: {directory} has no {some(missing)}. It has: {some(info.classes)}")
    if missing or more:
        only = "; ".join(
            f"only {where} has {some(names)}" for where, names in ((first[0], missing), (directory, more)) if names
        )
        raise UserError(
            f"--data: {first[0]} and {directory} must have the same classes, and {only}. "
            "To train on classes that all datasets have, name them: --classes"
        )
