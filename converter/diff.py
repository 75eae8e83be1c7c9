"""Compares two datasets, whatever shards they are cut into: `python -m converter.diff A B`.

    shards of A that B lacks --> {filename: values to compare} --.
                                                                  >-- name by name --> Difference
    shards of B that A lacks --> example after example ----------'

Memory holds the name and the digest of each example of A that is read, and of each example that differs.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from converter.dataset.examples import read_shard
from multihot import command, flags, storage
from multihot.errors import UserError
from multihot.limits import DEFAULT, LimitOptions, Limits
from multihot.printable import printable
from multihot.settings import setting
from multihot.usage import Usage
from schemas import metadata
from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo


class Relabelled(NamedTuple):
    """An image with different labels in the two datasets.

    Attributes:
        filename: of the image.
        gained: classes that it is known not to have in the first dataset, and to have in the second.
        lost: classes that it is known to have in the first dataset, and not to have in the second.
        unknown: classes that are unknown in one of the datasets, with its labels in both: 0, 1 or UNKNOWN.
    """

    filename: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    unknown: tuple[tuple[str, int, int], ...] = ()

    def __str__(self) -> str:
        classes = [f"+{name}" for name in self.gained] + [f"-{name}" for name in self.lost]
        classes += [f"{name}: {_words(old)} -> {_words(new)}" for name, old, new in self.unknown]
        return f"{self.filename}: {', '.join(classes)}"


def _words(label: int) -> str:
    return "unknown" if label == UNKNOWN else str(label)


class Moved(NamedTuple):
    """An image in different splits of the two datasets."""

    filename: str
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.filename}: {self.source} -> {self.target}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """The changes from a first dataset to a second. Images are sorted by name.

    Attributes:
        classes_added: classes of the second dataset only.
        classes_removed: classes of the first dataset only.
        classes_reordered: whether the classes of both datasets have different orders.
        added: images of the second dataset only.
        removed: images of the first dataset only.
        relabelled: images whose labels differ, compared by the names of the classes.
        changed: images whose bytes or sizes in pixels differ.
        moved: images whose splits differ.
    """

    classes_added: tuple[str, ...] = ()
    classes_removed: tuple[str, ...] = ()
    classes_reordered: bool = False
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    relabelled: tuple[Relabelled, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return self != Difference()


class _Compared(NamedTuple):
    """The values of an example that are compared.

    Attributes:
        split: name of its split.
        labels: names of the classes that it is known to have, sorted.
        unknown: names of the classes that are unknown, sorted.
        digest: of its image.
    """

    split: str
    labels: tuple[str, ...]
    unknown: tuple[str, ...]
    digest: bytes

    def label(self, name: str) -> int:
        """Returns the label of a class: 0, 1 or UNKNOWN."""
        return UNKNOWN if name in self.unknown else int(name in self.labels)


def diff(one: str, other: str, limits: Limits = DEFAULT) -> Difference:
    """Compares two datasets by the names of their images. The names, versions and rejects of the datasets are ignored.

    Args:
        one: folder of the first dataset.
        other: folder of the second dataset.
        limits: of an image; no image is decoded.

    Raises:
        UserError: a folder is no dataset, or a dataset is damaged.
        OSError: a dataset cannot be read.
    """
    infos = metadata.load(one), metadata.load(other)
    for directory, info in zip((one, other), infos, strict=True):
        _check_there(directory, info)
    if infos[0].fingerprint == infos[1].fingerprint:
        return Difference()
    # If the classes differ, the labels in equal shards mean different classes.
    common = _shards(infos[0]) & _shards(infos[1]) if infos[0].classes == infos[1].classes else set()
    left: dict[str, _Compared] = {}
    for filename, compared in _read(one, infos[0], common, limits):
        if left.setdefault(filename, compared) is not compared:
            raise UserError(f"{one} has {filename!r} twice: `python -m converter.verify` says where.")
    return _compare(infos, left, _read(other, infos[1], common, limits))


def _check_there(directory: str, info: DatasetInfo) -> None:
    """Checks the sizes of all shards, most of which are not read."""
    sizes = {file.name: file.size for file in storage.list_files(directory)}
    for split in info.splits:
        for shard in split.shards:
            if sizes.get(shard.path) != shard.file_bytes:
                raise UserError(
                    f"{directory}/{shard.path} is missing or cut: `python -m converter.verify {directory}` has details."
                )


def _shards(info: DatasetInfo) -> set[tuple[str, str]]:
    return {(split.name, shard.sha256) for split in info.splits for shard in split.shards}


def _compare(
    infos: tuple[DatasetInfo, DatasetInfo], left: dict[str, _Compared], examples: Iterator[tuple[str, _Compared]]
) -> Difference:
    """Compares examples of the second dataset with `left`, those of the first, and removes each match from `left`.

    The examples that remain in `left` are not in the second dataset.
    """
    added, relabelled, changed, moved = [], [], [], []
    for filename, new in examples:
        old = left.pop(filename, None)
        if old is None:
            added.append(filename)
            continue
        if (new.labels, new.unknown) != (old.labels, old.unknown):
            relabelled.append(_relabelled(filename, old, new))
        if new.digest != old.digest:
            changed.append(filename)
        if new.split != old.split:
            moved.append(Moved(filename, old.split, new.split))
    before, after = infos[0].classes, infos[1].classes
    return Difference(
        classes_added=_without(after, before),
        classes_removed=_without(before, after),
        classes_reordered=[name for name in before if name in after] != [name for name in after if name in before],
        added=tuple(sorted(added)),
        removed=tuple(sorted(left)),
        relabelled=tuple(sorted(relabelled)),
        changed=tuple(sorted(changed)),
        moved=tuple(sorted(moved)),
    )


def _relabelled(filename: str, old: _Compared, new: _Compared) -> Relabelled:
    unknown = sorted({*old.unknown, *new.unknown})
    changes = ((name, old.label(name), new.label(name)) for name in unknown)
    return Relabelled(
        filename,
        gained=_without(new.labels, (*old.labels, *unknown)),
        lost=_without(old.labels, (*new.labels, *unknown)),
        unknown=tuple(change for change in changes if change[1] != change[2]),
    )


def _without(names: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    known = frozenset(others)
    return tuple(name for name in names if name not in known)


def _read(
    directory: str, info: DatasetInfo, skipped: set[tuple[str, str]], limits: Limits
) -> Iterator[tuple[str, _Compared]]:
    """Yields the file names and values of the examples in all shards except the skipped ones."""
    for split in info.splits:
        for shard in split.shards:
            if (split.name, shard.sha256) not in skipped:
                for _, one in read_shard(directory, shard, info, limits):
                    labels, unknown = (_names(info.classes, one.labels, label) for label in (1, UNKNOWN))
                    digest = hashlib.blake2b(f"{one.height} {one.width} ".encode(), digest_size=16)
                    digest.update(one.image)
                    yield one.filename, _Compared(split.name, labels, unknown, digest.digest())


def _names(classes: Sequence[str], labels: Sequence[int], wanted: int) -> tuple[str, ...]:
    return tuple(sorted(name for name, label in zip(classes, labels, strict=True) if label == wanted))


def report(difference: Difference, limit: int = 20) -> str:
    """Returns the text to print: `same`, or the number of differences of each kind, with their names.

    Args:
        difference: from `diff`.
        limit: largest number of names listed for each kind; 0 for all.
    """
    if not difference:
        return "same"
    lines = []
    for field in dataclasses.fields(difference):
        found = getattr(difference, field.name)
        kind = field.name.replace("_", " ")
        if isinstance(found, bool):
            lines.append(f"{kind}: {'yes' if found else 'no'}")
            continue
        lines.append(f"{kind}: {len(found)}")
        lines += [f"  {printable(str(one))}" for one in found[: limit or len(found)]]
        if limit and len(found) > limit:
            lines.append(f"  ... and {len(found) - limit} more (--limit=0 lists all)")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffOptions(LimitOptions):
    """The settings of a comparison."""

    one: str = dataclasses.field(
        metadata=setting("Folder of a dataset: ROOT/NAME/VERSION.", value="A", positional=True)
    )
    other: str = dataclasses.field(metadata=setting("Folder of another dataset.", value="B", positional=True))
    limit: int = dataclasses.field(default=20, metadata=setting("Names to list for each kind of difference. 0: all."))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit < 0:
            raise UserError(f"--limit must be 0 or more. Received: {self.limit}")


USAGE = Usage(
    module="converter.diff",
    description="Compares two datasets. Exit status: 0 if they are the same, 1 if they differ, 2 after an error.",
    example="data/miml/1.0.0 data/miml/1.1.0",
    settings=(DiffOptions,),
)


def main(options: DiffOptions) -> int:
    """Prints the difference; returns the status: 0 if there is none, 1 otherwise."""
    for directory in (options.one, options.other):
        storage.check(directory)
    difference = diff(options.one, options.other, options.limits)
    print(report(difference, options.limit))
    return int(bool(difference))


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE), status=2)


if __name__ == "__main__":
    run()
