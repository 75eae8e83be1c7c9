"""Writes one whole shard from its rows: one task, one file."""

import dataclasses
import errno
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

from converter.duplicates.fingerprints import Fingerprint
from converter.images.prove import Preparation
from converter.rejects import Damaged, Reject
from converter.shards import provenance, reading
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.shards.provenance import Provenance
from converter.shards.reading import PreparedRow
from converter.splits import assignment
from converter.system import progress, storage
from schemas import example, layout
from schemas.metadata import ShardInfo
from schemas.statistics import Statistics
from schemas.tfrecord import ShardWriter

_Reader = Callable[[Iterable[Source]], Iterator[list[PreparedRow | Reject]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """The result of writing one shard.

    Attributes:
        split: name of its split.
        index: number of the shard in the split, from 0 over all planned shards.
        num_shards: number of shards planned for the split.
        provenance: the note about the shard, with the digest of its sources.
        rejects: rows whose image could not be used.
        reused: whether the shard of an earlier run was kept.
        damaged: rows whose image is damaged and was kept.
    """

    split: str
    index: int
    num_shards: int
    provenance: Provenance
    rejects: tuple[Reject, ...]
    reused: bool
    damaged: tuple[Damaged, ...] = ()

    @property
    def shard(self) -> ShardInfo | None:
        """The shard, or None where every image of it was rejected: an empty file is never written."""
        return self.provenance.shard

    @property
    def num_rows(self) -> int:
        """The number of rows that it was made from."""
        return (self.shard.num_examples if self.shard else 0) + len(self.rejects)

    def without_fingerprints(self) -> Self:
        """Returns the result without the fingerprints, which are most of its bytes."""
        return dataclasses.replace(self, provenance=dataclasses.replace(self.provenance, fingerprints=Batch()))

    @property
    def planned(self) -> str:
        """The path in the dataset that was planned for the shard."""
        return layout.shard(self.split, self.index, self.num_shards)


def write_shard(
    directory: str,
    *,
    published: str,
    split: str,
    index: int,
    num_shards: int,
    sources: Iterable[Source],
    preparation: Preparation,
    num_threads: int,
    has_unknown: bool = False,
) -> ShardResult:
    """Reads the images of a shard, proves them, and writes the shard and its index, unless that has been done before.

    Args:
        directory: folder of the incomplete dataset.
        published: folder of the dataset that it will replace, if there is one: its unchanged shards are reused.
        split: name of the split.
        index: number of the shard in its split.
        num_shards: number of shards planned for the split.
        sources: the rows of the shard, at least one, in any order.
        preparation: settings for every image.
        num_threads: batches of images read and decoded at a time; about twice as many are held in memory.
        has_unknown: whether the records of the dataset have the feature `labels/known`.

    Returns:
        The result: the same for the same sources, whatever their order.

    Raises:
        OSError: the shard cannot be written.
    """
    ordered = sorted(sources, key=lambda source: (assignment.position(source.row.filename), source.row.filename))
    planned = layout.shard(split, index, num_shards)
    digest = provenance.digest(ordered, (preparation, has_unknown))
    read = functools.partial(reading.read, preparation=preparation, num_threads=num_threads)
    found = _reuse(directory, published, planned, digest, ordered, read)
    made, rejects = found or _write(directory, planned, digest, ordered, read, has_unknown)
    return ShardResult(
        split=split,
        index=index,
        num_shards=num_shards,
        provenance=made,
        rejects=tuple(rejects),
        reused=found is not None,
        damaged=_damaged(made, ordered),
    )


def _damaged(made: Provenance, sources: Sequence[Source]) -> tuple[Damaged, ...]:
    details = dict(made.damaged)
    rows = (source.row for source in sources if source.row.filename in details)
    return tuple(Damaged(row.csv, row.line, row.filename, details[row.filename]) for row in rows)


def _reuse(
    directory: str, published: str, planned: str, digest: str, sources: Sequence[Source], read: _Reader
) -> tuple[Provenance, list[Reject]] | None:
    """Returns the shard of an earlier run and its rejects, if it can be reused; None otherwise.

    It can be reused if its sources are the same, its files are intact, and the same images are rejected again. A shard
    in the published dataset, or under another number, is linked to its planned path.
    """
    for folder in (directory, published):
        made = Provenance.read(folder, planned)
        if not made or made.digest != digest or not made.is_intact(folder):
            continue
        rejected = set(made.rejected)
        again = read(source for source in sources if source.row.filename in rejected)
        rejects = [one for batch in again for one in batch if isinstance(one, Reject)]
        if len(rejects) < len(rejected):
            return None  # An image that was rejected before can be read now.
        progress.advance(len(sources))
        in_place = folder == directory and (not made.shard or made.shard.path == planned)
        return (made if in_place else _take_over(made, folder, directory, planned)), rejects
    return None


def _take_over(made: Provenance, folder: str, directory: str, planned: str) -> Provenance:
    """Links a shard of one folder to its planned path in another, and writes its note there."""
    shard = made.shard and dataclasses.replace(made.shard, path=planned)
    taken = dataclasses.replace(made, shard=shard)
    if made.shard:
        for old, new in zip(layout.shard_files(made.shard.path), layout.shard_files(planned), strict=True):
            storage.link(f"{folder}/{old}", f"{directory}/{new}")
    taken.write(directory, planned)
    return taken


def _write(
    directory: str, planned: str, digest: str, sources: Sequence[Source], read: _Reader, has_unknown: bool
) -> tuple[Provenance, list[Reject]]:
    """Writes the shard, then its index, and last the note about them."""
    statistics = Statistics(positives=(0,) * len(sources[0].row.labels))
    fingerprints: Batch[Fingerprint] = Batch()
    rejects: list[Reject] = []
    damaged: list[tuple[str, str]] = []
    with storage.create(f"{directory}/{planned}") as file:
        writer = ShardWriter(file)
        for batch in read(sources):
            prepared = [one for one in batch if isinstance(one, PreparedRow)]
            rejects += (one for one in batch if isinstance(one, Reject))
            if prepared:
                statistics += _write_examples(writer, prepared, has_unknown)
                fingerprints += (one.fingerprint for one in prepared)
                damaged += ((one.row.filename, one.image.damage) for one in prepared if one.image.damage)
            progress.advance(len(batch))
    shard = None
    if writer.num_examples:
        shard = ShardInfo(
            path=planned, num_examples=writer.num_examples, num_bytes=writer.num_bytes, sha256=writer.sha256
        )
        storage.write(f"{directory}/{layout.shard_index(planned)}", writer.index)
    else:
        storage.delete(f"{directory}/{planned}")
    made = Provenance(
        digest=digest,
        shard=shard,
        index_sha256=hashlib.sha256(writer.index.encode()).hexdigest(),
        statistics=statistics,
        fingerprints=fingerprints,
        rejected=tuple(reject.filename for reject in rejects),
        damaged=tuple(damaged),
    )
    if not made.is_intact(directory):
        raise OSError(errno.EIO, "does not read back as it was written", f"{directory}/{planned}")
    made.write(directory, planned)
    return made, rejects


def _write_examples(writer: ShardWriter, prepared: Sequence[PreparedRow], has_unknown: bool) -> Statistics:
    """Appends the records of these images to the shard, and returns their statistics."""
    images = [one.image for one in prepared]
    records = [
        example.encode(
            image=image.data,
            height=image.height,
            width=image.width,
            labels=row.labels,
            filename=row.filename,
            has_unknown=has_unknown,
        )
        for row, image, _ in prepared
    ]
    writer.write(*records)
    return Statistics.of_all(
        labels=[one.row.labels for one in prepared],
        formats=[image.format for image in images],
        heights=[image.height for image in images],
        widths=[image.width for image in images],
        image_bytes=[len(image.data) for image in images],
        example_bytes=[len(record) for record in records],
        oriented=[image.oriented for image in images],
        resized=[image.resized for image in images],
        rescaled=[image.rescaled for image in images],
        transparent=[image.transparent for image in images],
        has_unknown=has_unknown,
    )
