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

    def check(self) -> None:
        """Checks that the files of all attempts are there, before any file of a dataset is changed.

        Raises:
            OSError: one is missing, or has another size or, where that can be seen at once, another digest.
        """
        found = {file.name: file.size for file in storage.list_files(self._incomplete)}
        lost = []
        for path, attempt in self._attempts.items():
            at = attempt if attempt in found else path
            is_there = at in found and found[at] == self._sizes.get(path, found[at])
            if not is_there or (at == path and not self._is_moved(path)):
                lost.append(attempt)
        if lost:
            raise OSError(f"{self._incomplete}: files that were written are missing: {', '.join(sorted(lost))}")

    def _is_moved(self, path: str) -> bool:
        """Whether an interrupted attempt at this step has brought the very file to its place on this machine."""
        digest = self._digests.get(path)
        return digest is None or storage.sha256(f"{self._incomplete}/{path}") == digest

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
            folder: on this machine, the unfinished dataset; in a store, the dataset.
        """
        pairs = [(f"{self._incomplete}/{attempt}", f"{folder}/{path}") for path, attempt in self._attempts.items()]
        if not storage.is_local(folder):
            storage.link(pairs)
            return
        for attempt, path in pairs:
            # An interrupted attempt at this step may have renamed it already.
            if storage.exists(attempt):
                storage.move(attempt, path)
