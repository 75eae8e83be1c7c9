"""Writes one whole shard from its rows: one task, one file."""

import dataclasses
import errno
import functools
import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

from converter.duplicates.fingerprints import Fingerprint
from converter.rejects import Damaged, Reject
from converter.shards import provenance, reading
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.shards.provenance import Provenance
from converter.shards.reading import PreparedRow
from converter.splits import assignment
from converter.system import progress
from multihot import storage
from multihot.images.prove import Preparation
from schemas import example, layout
from schemas.metadata import ShardInfo
from schemas.rows import RowPlace
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
        attempt: the name of the attempt that wrote it, see layout.attempt.
        provenance: the note about the shard, with the digest of its sources, without its rows.
        rejects: rows whose image could not be used.
        reused: whether the shard of an earlier run was kept.
        damaged: rows whose image is damaged and was kept.
    """

    split: str
    index: int
    num_shards: int
    attempt: str
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
        return dataclasses.replace(self, provenance=self.provenance.without_examples())

    def without_rows(self) -> Self:
        """Returns the result without the rejected rows, and without those of damaged images."""
        return dataclasses.replace(self, rejects=(), damaged=())

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
    check: Callable[[], None] = lambda: None,
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
        check: raises an error if nothing may be written any more. It is called once, before anything is.

    Returns:
        The result: the same for the same sources, whatever their order.

    Raises:
        OSError: the shard cannot be written.
    """
    ordered = sorted(sources, key=lambda source: (assignment.position(source.row.filename), source.row.filename))
    planned = layout.shard(split, index, num_shards)
    digest = provenance.digest(ordered, (preparation, has_unknown))
    read = functools.partial(reading.read, preparation=preparation, num_threads=num_threads)
    earlier = _earlier(directory, published, planned, check)
    found = _reuse(earlier, directory, planned, digest, ordered, read)
    attempt, made, rejects = found or _write(directory, planned, digest, ordered, read, has_unknown)
    return ShardResult(
        split=split,
        index=index,
        num_shards=num_shards,
        attempt=attempt,
        provenance=dataclasses.replace(made, rows=Batch()),
        rejects=tuple(rejects),
        reused=found is not None,
        damaged=_damaged(made, ordered),
    )


def _damaged(made: Provenance, sources: Sequence[Source]) -> tuple[Damaged, ...]:
    details = dict(made.damaged)
    rows = (source.row for source in sources if source.row.filename in details)
    return tuple(Damaged(row.csv, row.line, row.filename, details[row.filename]) for row in rows)


def _reuse(
    earlier: Iterable[tuple[str, str, Provenance]],
    directory: str,
    planned: str,
    digest: str,
    sources: Sequence[Source],
    read: _Reader,
) -> tuple[str, Provenance, list[Reject]] | None:
    """Returns the attempt, the note and the rejects of a shard of an earlier run, if it can be reused; None otherwise.

    It can be reused if its sources are the same, its files are intact, and the same images are rejected again. A shard
    that is in its place in a dataset is linked to an attempt.
    """
    for folder, attempt, made in earlier:
        if made.digest != digest or not made.is_intact(
            folder, layout.attempt(planned, attempt) if attempt else made.path
        ):
            continue
        rejected = set(made.rejected)
        again = read(source for source in sources if source.row.filename in rejected)
        rejects = [one for batch in again for one in batch if isinstance(one, Reject)]
        if len(rejects) < len(rejected):
            return None  # An image that was rejected before can be read now.
        progress.advance(len(sources))
        places = _rows(made.fingerprints, sources)
        if not attempt:
            attempt, made = _take_over(made, places, folder, directory, planned)
        elif made.rows != places:
            made = dataclasses.replace(made, rows=places)
            made.write(directory, layout.attempt(planned, attempt))
        return attempt, made, rejects
    return None


def _earlier(
    directory: str, published: str, planned: str, check: Callable[[], None]
) -> Iterator[tuple[str, str, Provenance]]:
    """Yields the notes of earlier runs about a shard, each with its folder and its attempt.

    The attempt is "" where a shard is in its place in the dataset: in the published one, or in the assembled one if
    the last step was interrupted.
    """
    assembled = [layout.assembled_dir(directory)] if storage.is_local(directory) else []
    notes = f"{directory}/{layout.MADE_FROM}/{layout.attempt(planned, '')}"
    # A store answers after a while, so that all is asked for at the same time.
    with storage.in_parallel(directory) as threads:
        checking = threads.submit(check)
        listing = threads.submit(lambda: sorted(storage.list_files(notes)))
        reading = threads.submit(Provenance.read, published, planned)
        checking.result()
        files = listing.result()
    for file in files:
        attempt = file.name.removesuffix(".json")
        if made := Provenance.read(directory, layout.attempt(planned, attempt)):
            yield directory, attempt, made
            for folder in assembled:
                yield folder, "", made
    for folder in assembled:
        if made := Provenance.read(folder, planned):
            yield folder, "", made
    if made := reading.result():
        yield published, "", made


def _take_over(
    made: Provenance, places: Batch[RowPlace], folder: str, directory: str, planned: str
) -> tuple[str, Provenance]:
    """Links a shard that is in its place in a folder to an attempt, and writes its note there."""
    attempt = uuid.uuid4().hex
    path = layout.attempt(planned, attempt)
    if made.shard:
        names = zip(layout.shard_files(made.shard.path), layout.shard_files(path), strict=True)
        storage.link(((f"{folder}/{old}", f"{directory}/{new}") for old, new in names), below=directory)
    taken = dataclasses.replace(made, shard=made.shard and dataclasses.replace(made.shard, path=planned), rows=places)
    taken.write(directory, path)
    return attempt, taken


def _write(
    directory: str, planned: str, digest: str, sources: Sequence[Source], read: _Reader, has_unknown: bool
) -> tuple[str, Provenance, list[Reject]]:
    """Writes the shard, then its index, and last the note about them."""
    attempt = uuid.uuid4().hex
    path = layout.attempt(planned, attempt)
    statistics = Statistics(positives=(0,) * len(sources[0].row.labels))
    fingerprints: Batch[Fingerprint] = Batch()
    rejects: list[Reject] = []
    damaged: list[tuple[str, str]] = []
    # A late attempt must not make a folder again that was deleted.
    with storage.in_parallel(directory) as threads, storage.create(f"{directory}/{path}", below=directory) as file:
        writer = ShardWriter(file)
        for batch in read(sources):
            prepared = [one for one in batch if isinstance(one, PreparedRow)]
            rejects += (one for one in batch if isinstance(one, Reject))
            if prepared:
                statistics += _write_examples(writer, prepared, has_unknown)
                fingerprints += (one.fingerprint for one in prepared)
                damaged += ((one.row.filename, one.image.damage) for one in prepared if one.image.damage)
            progress.advance(len(batch))
        write_index = functools.partial(
            storage.write, f"{directory}/{layout.shard_index(path)}", writer.index, below=directory
        )
        sent = None
        if writer.num_examples and not storage.is_local(directory):
            sent = threads.submit(write_index)  # While the end of the shard is sent.
    shard = None
    if writer.num_examples:
        shard = ShardInfo(
            path=planned, num_examples=writer.num_examples, num_bytes=writer.num_bytes, sha256=writer.sha256
        )
        if sent:
            sent.result()
        else:
            write_index()
    else:
        storage.delete_files([f"{directory}/{path}"])
    made = Provenance(
        digest=digest,
        shard=shard,
        index_sha256=hashlib.sha256(writer.index.encode()).hexdigest(),
        statistics=statistics,
        fingerprints=fingerprints,
        rows=_rows(fingerprints, sources),
        rejected=tuple(reject.filename for reject in rejects),
        damaged=tuple(damaged),
    )
    # A store takes an object in full or not at all, and has answered that it is there. The last step looks once more.
    if storage.is_local(directory) and not made.is_intact(directory, path):
        raise OSError(errno.EIO, "does not read back as it was written", f"{directory}/{path}")
    made.write(directory, path)
    return attempt, made, rejects


def _rows(fingerprints: Iterable[Fingerprint], sources: Sequence[Source]) -> Batch[RowPlace]:
    """Returns the row of each example, in the order of the examples."""
    row_of = {row.filename: row for row, _ in sources}
    named = (row_of[one.filename] for one in fingerprints)
    return Batch(
        RowPlace(row.filename, row.csv, row.line, row.group if row.group != row.filename else "") for row in named
    )


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
