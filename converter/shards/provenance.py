"""Notes beside a finished shard what it was made from, so that an unchanged shard is kept.

The bytes of a shard depend only on its sources and settings, so a digest of names, labels, sizes and times of
modification identifies it. The note is the last file of an attempt to be written: one without a note is not finished.
The lines of the rows are noted too, but are no part of the digest: when rows of the CSV change their order, a shard
stays valid, and only its note is written again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Self

import multihot
from converter.duplicates.fingerprints import Fingerprint
from converter.shards.batches import Batch
from converter.shards.matching import Source
from multihot import storage
from schemas import digest as note_digest
from schemas import layout, rows, typed
from schemas.metadata import ShardInfo
from schemas.rows import RowPlace
from schemas.statistics import Statistics

# To be raised when the format of the note changes, or the bytes of a shard for the same sources.
_VERSION = 4


def digest(sources: Iterable[Source], settings: object) -> str:
    """Returns the digest of everything that determines the bytes of a shard.

    Args:
        sources: of the shard, in their order.
        settings: settings that change the bytes, by their `repr`.
    """
    made_from = hashlib.sha256(f"multihot {multihot.__version__} {_VERSION} {settings!r}\n".encode())
    for row, file in sources:
        made_from.update(f"{row.filename}\0{row.labels.hex()} {file.size} {file.modified}\n".encode())
    return made_from.hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """The note about a finished shard.

    Attributes:
        digest: the digest of its sources and settings, from `digest`.
        shard: the shard, or None where every image of it was rejected.
        index_sha256: hex digest of its index.
        statistics: of its examples.
        fingerprints: of its images, in their order.
        rows: from which its examples were made, in their order.
        rejected: file names of its sources whose image could not be used.
        damaged: file names of its examples whose image is damaged and was kept, with the words of libjpeg.
    """

    digest: str
    shard: ShardInfo | None
    index_sha256: str
    statistics: Statistics
    fingerprints: Batch[Fingerprint]
    rows: Batch[RowPlace]
    rejected: tuple[str, ...]
    damaged: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The path of the shard in the published dataset; "" if there is none."""
        return self.shard.path if self.shard else ""

    def without_examples(self) -> Self:
        """Returns the note without the fingerprints and the rows, which are most of its bytes."""
        return dataclasses.replace(self, fingerprints=Batch(), rows=Batch())

    def write(self, directory: str, path: str) -> None:
        """Writes the note about a shard at this path in a folder, which has to be there."""
        fields = typed.plain(self.without_examples())
        fields["fingerprints"] = [fingerprint.to_json() for fingerprint in self.fingerprints]
        fields[rows.ROWS] = rows.plain(self.rows)
        # Without a digest of the note itself, a flipped bit in a count would end up in the manifest.
        text = json.dumps(note_digest.add(fields, escaped=False), ensure_ascii=False)
        storage.write(f"{directory}/{layout.shard_origin(path)}", f"{text}\n", below=directory)

    @classmethod
    def read(cls, directory: str, path: str) -> Self | None:
        """Returns the note about a shard; None if there is none, or it is damaged or of another version."""
        try:
            noted = json.loads(storage.read(f"{directory}/{layout.shard_origin(path)}"))
            fields, is_intact = note_digest.remove(noted, escaped=False)
            if not is_intact:
                return None
            shard = fields["shard"] and typed.build(fields["shard"], ShardInfo)
            if shard and not layout.is_shard(shard.path):
                return None  # The path could lead to a file of another folder.
            return cls(
                digest=fields["digest"],
                shard=shard,
                index_sha256=fields["index_sha256"],
                statistics=typed.build(fields["statistics"], Statistics),
                fingerprints=Batch(Fingerprint.from_json(*values) for values in fields["fingerprints"]),
                rows=Batch(rows.build(fields[rows.ROWS])) if rows.ROWS in fields else Batch(),
                rejected=tuple(fields["rejected"]),
                damaged=tuple((name, detail) for name, detail in fields["damaged"]),
            )
        except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
            return None  # Missing, damaged, or of another version: the shard is written again.

    def is_intact(self, directory: str, path: str) -> bool:
        """Whether the shard and its index are at this path of a folder, byte for byte as they were written."""
        if not self.shard:
            return True
        try:
            shard, index = layout.shard_files(path)
            return (
                storage.sha256(f"{directory}/{shard}") == self.shard.sha256
                and storage.sha256(f"{directory}/{index}") == self.index_sha256
            )
        except OSError:
            return False
