"""Caches on disk, on real disks that are full, cannot be written to, or are used by several processes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from multihot.errors import UserError
from trainer.input import diskcache

NAMES = ("inputs", "labels")
DESCRIPTION = {"of": "a test"}
CHECKOUT = Path(__file__).parents[3]


def chunks(num: int = 4, failure: BaseException | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields 10,000 bytes each, and fails in the end if told so."""
    for i in range(num):
        yield np.full(10_000, i, np.uint8), np.full(1, i, np.float32)
    if failure:
        raise failure


def make(root: Path, description: diskcache.Description = DESCRIPTION, num: int = 4) -> Path:
    return diskcache.find_or_make(root, description, NAMES, chunks(num))


def is_whole(folder: Path) -> bool:
    return bytes(diskcache.map_file(folder / "inputs", 40_000)) == b"".join(bytes([i]) * 10_000 for i in range(4))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts disks of a given size in the memory."""
    folders = []

    def mount(size: str = "64k") -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a disk")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_cache_is_made_once_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    assert not diskcache.is_complete(root, DESCRIPTION)
    folder = make(root)
    assert diskcache.is_complete(root, DESCRIPTION)
    assert is_whole(folder)
    assert list(root.iterdir()) == [folder]
    # Not read: it is there.
    assert diskcache.find_or_make(root, DESCRIPTION, NAMES, chunks(failure=AssertionError())) == folder
    assert make(root, {"of": "another test"}) != folder


def test_a_full_disk_is_a_sentence_and_is_as_empty_as_before(mounted: Callable[..., Path]) -> None:
    disk = mounted()
    free = shutil.disk_usage(disk).free
    with pytest.raises(UserError) as caught:
        make(disk, num=100)
    assert str(caught.value) == (
        f"The cache cannot be written to {disk}: No space left on device. Choose another --cache_dir or --cache."
    )
    assert list(disk.iterdir()) == []
    assert shutil.disk_usage(disk).free == free
    assert is_whole(make(disk))


@pytest.mark.parametrize(
    "failure",
    [
        *(
            pytest.param(OSError(number, os.strerror(number)), id=errno.errorcode[number])
            for number in (errno.EDQUOT, errno.EIO, errno.ENOSPC)
        ),
        pytest.param(KeyboardInterrupt(), id="Ctrl-C"),
        pytest.param(SystemExit(1), id="SIGTERM"),
        pytest.param(ValueError(), id="any other"),
    ],
)
def test_whatever_fails_leaves_nothing(failure: BaseException, tmp_path: Path) -> None:
    expected = UserError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected):
        diskcache.find_or_make(tmp_path, DESCRIPTION, NAMES, chunks(2, failure))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("description", [DESCRIPTION, {"of": "another run"}])
def test_the_next_run_removes_what_a_killed_one_left_on_a_full_disk(
    description: diskcache.Description, mounted: Callable[..., Path]
) -> None:
    disk = mounted()
    with _start(disk, "killed") as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "half of it is written\n"
        left = sorted(path.suffix for path in disk.iterdir())
        # While it runs, what it writes is its own.
        diskcache.remove_unfinished(disk)
        assert sorted(path.suffix for path in disk.iterdir()) == left == [".incomplete", ".lock"]
        killed.send_signal(signal.SIGKILL)
    assert shutil.disk_usage(disk).free < 40_000
    folder = make(disk, description)
    assert is_whole(folder)
    assert list(disk.iterdir()) == [folder]


_PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_diskcache
from trainer.input import diskcache
if sys.argv[2] == "killed":
    def chunks():
        yield from test_diskcache.chunks(4)
        print("half of it is written", flush=True)
        time.sleep(600)
elif sys.argv[2] == "slow":
    def chunks():
        print("made it", flush=True)
        time.sleep(1)
        yield from test_diskcache.chunks(4)
else:
    chunks = test_diskcache.chunks
try:
    root, description = Path(sys.argv[1]), test_diskcache.DESCRIPTION
    print(diskcache.find_or_make(root, description, test_diskcache.NAMES, chunks()), flush=True)
except test_diskcache.UserError as error:
    print(error)
"""


def _start(root: Path, kind: str, *prefix: str) -> subprocess.Popen[str]:
    """Starts a process that makes a cache."""
    program = _PROGRAM.format(tests=str(Path(__file__).parent))
    command = [*prefix, sys.executable, "-c", program, str(root), kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)


def test_of_many_processes_at_once_one_makes_it(tmp_path: Path) -> None:
    processes = [_start(tmp_path, "slow") for _ in range(6)]
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    [folder] = tmp_path.iterdir()
    assert is_whole(folder)
    assert all(output[-1] == str(folder) for output in outputs)
    assert sum(output[0] == "made it" for output in outputs) == 1


def test_of_those_that_wait_for_a_killed_one_one_makes_it(tmp_path: Path) -> None:
    with _start(tmp_path, "killed") as killed:
        assert killed.stdout
        killed.stdout.readline()
        waiting = [_start(tmp_path, "slow") for _ in range(2)]
        time.sleep(2)
        assert [process.poll() for process in waiting] == [None, None]
        killed.send_signal(signal.SIGKILL)
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in waiting]
    assert sum(output[0] == "made it" for output in outputs) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [""]


@pytest.mark.parametrize("way", ["mounted read-only", "of another user"])
def test_a_shared_cache_that_cannot_be_written_to_is_read(
    way: str, mounted: Callable[..., Path], tmp_path: Path
) -> None:
    disk = mounted() if way == "mounted read-only" else tmp_path / "shared"
    folder = make(disk)
    incomplete = {"of": "what is not there"}
    if way == "mounted read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert make(disk) == folder
        assert is_whole(folder)
        assert not diskcache.is_writable(disk)
        assert not diskcache.is_writable(disk / "a" / "b")
        with pytest.raises(UserError) as caught:
            make(disk, incomplete)
        assert str(caught.value) == (
            f"The cache cannot be written to {disk}: Read-only file system. Choose another --cache_dir or --cache."
        )
        diskcache.remove_unfinished(disk)
        return
    # Modes do not bind root: a child becomes somebody else.
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("needs the right to become another user")
    assert diskcache.is_writable(disk)
    os.chmod(disk, 0o755)
    code = f"""
from pathlib import Path
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); sys.path.insert(0, {str(CHECKOUT)!r})
import os, test_diskcache
from trainer.input import diskcache
for folder in [Path({str(disk)!r}), *Path({str(disk)!r}).parents]:
    os.chmod(folder, os.stat(folder).st_mode | 0o555) if os.access(folder, os.W_OK) else None
os.setgid(65534); os.setuid(65534)
disk = Path({str(disk)!r})
assert test_diskcache.is_whole(test_diskcache.make(disk))
assert not diskcache.is_writable(disk)
diskcache.remove_unfinished(disk)
try:
    test_diskcache.make(disk, {incomplete!r})
except test_diskcache.UserError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout == (
        f"The cache cannot be written to {disk}: Permission denied. Choose another --cache_dir or --cache.\n"
    ), ended.stderr


def test_what_cannot_be_read_or_is_cut_is_a_sentence(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with pytest.raises(UserError, match=r"is damaged: inputs must have 40001 bytes\. Remove the folder\.$"):
        diskcache.map_file(folder / "inputs", 40_001)
    with pytest.raises(UserError, match="is damaged: others must have 1 bytes"):
        diskcache.map_file(folder / "others", 1)
    (folder / "folder").mkdir()
    with pytest.raises(UserError, match=r"^The cache .* cannot be read: Is a directory\."):
        diskcache.map_file(folder / "folder", 1)
