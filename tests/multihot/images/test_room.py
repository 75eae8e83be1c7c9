"""Images that are decoded together take no more memory than there is for them, and each is let in at last."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from multihot.images import prove, room
from multihot.images.prove import Preparation
from multihot.images.room import Room

_MB = 1 << 20


@pytest.mark.parametrize("sizes", [[16, 32, 48, 64] * 10, [1000] * 5, [64, 1] * 20], ids=["mixed", "alone", "small"])
def test_never_more_than_there_is_unless_one_is_alone(sizes: list[int]) -> None:
    space, held, most = Room(64 * _MB), [0], []
    lock = threading.Lock()

    def work(size: int) -> None:
        with space.taken(size * _MB):
            counted = min(64, size) if size >= 16 else 0
            with lock:
                held[0] += counted
                most.append(held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= counted

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, sizes))
    assert max(most) <= 64
    assert len(most) == len(sizes)


def test_room_is_given_back_after_an_exception() -> None:
    space = Room(16 * _MB)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), space.taken(100 * _MB):
            raise ZeroDivisionError


# Each of two processes enters when the other one has left.
_PROGRAM = """
import multiprocessing, sys, time
from multihot.images import room

def work(space, inside, most):
    room.share(space)
    for _ in range(20):
        with room.taken(100 << 20):
            with inside.get_lock():
                inside.value += 1
                most.value = max(most.value, inside.value)
            time.sleep(0.005)
            with inside.get_lock():
                inside.value -= 1

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    space = room.of_processes(int(sys.argv[1]) << 20, context)
    inside, most = context.Value("i", 0), context.Value("i", 0)
    processes = [context.Process(target=work, args=(space, inside, most)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(most.value, *(process.exitcode for process in processes))
"""


@pytest.mark.parametrize(
    ("megabytes", "together"),
    [pytest.param(300, 1, id="room for one"), pytest.param(3000, 2, id="room for all"), pytest.param(1, 1, id="none")],
)
def test_processes_share_one_room(tmp_path: Path, megabytes: int, together: int) -> None:
    (tmp_path / "program.py").write_text(_PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(megabytes)]
    found = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.split() == [str(together), "0", "0"]


def test_what_is_decoded_in_full_takes_room_and_what_is_proved_small_takes_none(
    draw: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = room.taken
    monkeypatch.setattr(room, "taken", lambda num_bytes: (asked.append(num_bytes), real(num_bytes))[1])
    preparation = Preparation(max_pixels=10**6)
    for given, times in (({}, 0), ({"progressive": True}, 1), ({"file_format": "PNG"}, 1)):
        asked.clear()
        prove.prepare(draw(width=400, height=300, **given), preparation)  # type: ignore[operator]
        assert asked == [400 * 300 * 12] * times
    asked.clear()
    small = Preparation(max_pixels=10**6, resize_shorter=100)
    prove.prepare(draw(width=400, height=300), small)  # type: ignore[operator]
    assert asked == [400 * 300 * 12]
