"""Brings the shards of a dataset in a store to this machine, where all runs share them.

    <cache>/shards/<sha256>.tfrecord

A shard has the name of its digest in the manifest: whatever its address, it is the right one, and one that has changed
is another one. It appears when it is complete. The next shards are fetched while earlier ones are read; what was not
used for longest is deleted when there is no more room.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from multihot import storage
from multihot.errors import UserError
from schemas import layout
from schemas.metadata import ShardInfo
from trainer.input import buffers

# Shards that are fetched at a time.
_AT_A_TIME = 4
_BLOCK_BYTES = 8 << 20
# A shard that was asked for may be opened so much later: it is not deleted before.
_IN_USE_SECONDS = 3600
# Share of the disk that stays free.
_FREE = 0.1


def paths(directory: str, shards: tf.data.Dataset, infos: dict[str, ShardInfo], cache: str) -> tf.data.Dataset:
    """Returns the paths of shards on this machine: each is fetched when it is asked for, and a few before that.

    Args:
        directory: of the dataset, in a store.
        shards: their paths in the dataset, in the order of an epoch.
        infos: the shards by their paths.
        cache: folder of all caches.
    """

    def fetched(path: bytes) -> bytes:
        shard = infos[path.decode()]
        return os.fsencode(fetch(f"{directory.rstrip('/')}/{shard.path}", shard, Path(cache)))

    def local(path: tf.Tensor) -> tf.Tensor:
        # Python is called for a shard, and not for an example.
        found = tf.numpy_function(fetched, [path], tf.string)
        return tf.ensure_shape(found, [])

    return shards.map(local, num_parallel_calls=_AT_A_TIME, deterministic=True).prefetch(buffers.OPEN_SHARDS)


def fetch(url: str, shard: ShardInfo, cache: Path) -> Path:
    """Returns the path of a shard on this machine, and fetches it if it is not there.

    Args:
        url: of the shard.
        shard: its entry in the manifest.
        cache: folder of all caches.

    Raises:
        UserError: it cannot be read, differs from the manifest, or there is no room for it.
    """
    folder = cache / "shards"
    path = folder / f"{shard.sha256}{layout.SHARD_ENDING}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_there(path, shard):
            return path
        with _locked(folder / f"{shard.sha256}.lock"):
            # Another run, or another thread, may have fetched it meanwhile.
            if not _is_there(path, shard):
                _make_room(folder, shard.file_bytes)
                _download(url, shard, path)
    except storage.StoreError as error:
        raise UserError(f"{url} cannot be read: {error.strerror}") from error
    except FileNotFoundError as error:
        raise UserError(f"{url} is missing. Copy the dataset once more, or convert again.") from error
    except OSError as error:
        raise UserError(
            f"{url} cannot be kept in {folder}: {error.strerror or error}. Choose another --cache_dir."
        ) from error
    return path


def _is_there(path: Path, shard: ShardInfo) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == shard.file_bytes:
            # A cache on a read-only disk is as good.
            with contextlib.suppress(OSError):
                os.utime(path)
            return True
    return False


def _download(url: str, shard: ShardInfo, path: Path) -> None:
    digest = hashlib.sha256()
    with storage.open_binary(url) as source, storage.create(str(path)) as target:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            target.write(block)
        if digest.hexdigest() != shard.sha256:
            raise UserError(f"{url} differs from the manifest. Copy the dataset once more, or convert again.")


def _make_room(folder: Path, num_bytes: int) -> None:
    """Deletes the shards that were not used for longest, until there is room for another one."""
    usage = shutil.disk_usage(folder)
    missing = num_bytes + int(_FREE * usage.total) - usage.free
    for used, size, path in sorted(_shards(folder)) if missing > 0 else ():
        if missing <= 0 or time.time() - used < _IN_USE_SECONDS:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            missing -= size


def _shards(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path in folder.glob(f"*{layout.SHARD_ENDING}"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime, status.st_size, path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks a file while the context is open, against other threads and processes."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # A later one may wait for the same file, and finds the shard then.
            path.unlink(missing_ok=True)
