"""Brings the shards of a conversion from the attempts that wrote them to their place in the dataset."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from converter.shards.provenance import Provenance
from converter.shards.writing import ShardResult
from multihot import storage
from schemas import layout
from schemas.metadata import ShardInfo

# Notes that are written at a time, in a store.
_THREADS = 32


def check_complete(folder: str, names: Collection[str]) -> None:
    """Checks that a dataset of this machine has these files, before it is published.

    Where a file system has no locks, several attempts at the last step may have taken files from each other.

    Raises:
        OSError: files are missing.
    """
    missing = set(names) - {file.name for file in storage.list_files(folder)}
    if missing:
        raise _missing(folder, missing)


def _missing(folder: str, names: Iterable[str]) -> OSError:
    return OSError(f"{folder}: files that were written are missing: {', '.join(sorted(names))}")


class Shards:
    """The shards of a conversion."""

    def __init__(
        self, incomplete: str, final: Iterable[tuple[ShardResult, ShardInfo]], results: Sequence[ShardResult]
    ) -> None:
        """Stores the arguments.

        Args:
            incomplete: folder of the unfinished dataset, with all attempts.
            final: results that have a shard, with the shard under its final number.
            results: all results; those without a shard have a note.
        """
        self._incomplete = incomplete
        # Of each file in the dataset, by its path: that of the attempt, its size and its digest, where they are known.
        self._attempts: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        # Notes about shards that have got another number than the planned one.
        self._renumbered: list[tuple[str, ShardInfo]] = []
        for result, shard in final:
            attempt = layout.attempt(result.planned, result.attempt)
            self._attempts |= zip(layout.shard_files(shard.path), layout.shard_files(attempt), strict=True)
            self._sizes[shard.path] = shard.file_bytes
            self._digests |= zip(
                layout.shard_files(shard.path), (shard.sha256, result.provenance.index_sha256), strict=True
            )
            if shard.path != result.planned:
                self._renumbered.append((attempt, shard))
        for result in results:
            attempt = layout.attempt(result.planned, result.attempt)
            self._attempts[layout.shard_origin(result.planned)] = layout.shard_origin(attempt)

    @property
    def paths(self) -> Collection[str]:
        """The paths of all files of shards in the dataset."""
        return self._attempts.keys()

    def check(self, folder: str) -> None:
        """Checks that the files of all attempts are there, before any file of a dataset is changed.

        Args:
            folder: to which they will be brought. An interrupted attempt at this step may have moved some already.

        Raises:
            OSError: one is missing, or has another size or, where that can be seen at once, another digest.
        """
        found = {file.name: file.size for file in storage.list_files(self._incomplete)}
        moved = {file.name: file.size for file in storage.list_files(folder)} if storage.is_local(folder) else {}
        lost = []
        for path, attempt in self._attempts.items():
            size = found.get(attempt, moved.get(path))
            is_there = size is not None and size == self._sizes.get(path, size)
            if not is_there or (attempt not in found and not self._is_moved(f"{folder}/{path}", path)):
                lost.append(attempt)
        if lost:
            raise _missing(self._incomplete, lost)

    def _is_moved(self, at: str, path: str) -> bool:
        """Whether the file of this path in the dataset is the very file that was written."""
        digest = self._digests.get(path)
        return digest is None or storage.sha256(at) == digest

    def renumber(self) -> None:
        """Writes the final numbers of shards into the notes about them, before these are gathered."""

        def write(renumbered: tuple[str, ShardInfo]) -> None:
            attempt, shard = renumbered
            # The note on disk has the fingerprints, which the results lack. A damaged note counts as missing.
            if noted := Provenance.read(self._incomplete, attempt):
                dataclasses.replace(noted, shard=shard).write(self._incomplete, attempt)

        with ThreadPoolExecutor(_THREADS) as executor:
            list(executor.map(write, self._renumbered))

    def gather(self, folder: str) -> None:
        """Brings all files to their place: on this machine they are renamed, in a store copied.

        Args:
            folder: on this machine, that of the assembled dataset; in a store, the dataset.
        """
        pairs = [(f"{self._incomplete}/{attempt}", f"{folder}/{path}") for path, attempt in self._attempts.items()]
        if not storage.is_local(folder):
            storage.link(pairs)
            return
        for attempt, path in pairs:
            # An interrupted attempt at this step may have renamed it already.
            if storage.exists(attempt):
                storage.move(attempt, path)
