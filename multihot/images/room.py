"""Shares the memory for decoded images among all threads and processes of a conversion.

Most JPEGs are proved at an eighth of their size, and are not counted. An image of 128 megapixels takes 1.5 GB while it
is decoded and rotated: 64 cores that decode 64 of them at a time would take 100 GB. So a large image waits until others
are done. An image larger than the whole memory is decoded alone. The room, which is that memory, is global state of
this module, like the processes of processes.py.
"""

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any

from multihot import machine

# Bytes of one unit. Images that take less, up to 1.3 megapixels, are not counted: 200 threads may decode any number.
_UNIT_BYTES = 1 << 24
# Share of the available memory at the start of a conversion that is for images; processes take at most half of it.
_SHARE = 1 / 3


class Room:
    """A number of bytes for images, which threads and processes share."""

    def __init__(self, num_bytes: float, context: BaseContext | None = None):
        """Divides memory into units.

        Args:
            num_bytes: of all images at a time.
            context: of the processes that share the room; None if only threads of this process do.
        """
        self._units = max(1, int(num_bytes / _UNIT_BYTES))
        # Only one thread takes units at a time: two that each had a part would wait for each other.
        self._turn: Any = context.Lock() if context else threading.Lock()
        self._free: Any = context.Semaphore(self._units) if context else threading.Semaphore(self._units)

    @contextlib.contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """Waits until these bytes are free, and takes them while the context is open. A thread must not nest calls."""
        units = min(self._units, num_bytes // _UNIT_BYTES)
        if units:
            with self._turn:
                for _ in range(units):
                    self._free.acquire()
        try:
            yield
        finally:
            for _ in range(units):
                self._free.release()


_room: Room | None = None
_making = threading.Lock()


def of_processes(memory: int, context: BaseContext) -> Room:
    """Returns the room for several processes, each of which calls `share` with it.

    Args:
        memory: bytes that are available for the conversion.
        context: by which the processes are started.
    """
    return Room(memory * _SHARE, context)


def share(room: Room) -> None:
    """Makes this process use a room that other processes use too."""
    global _room
    _room = room


def taken(num_bytes: int) -> contextlib.AbstractContextManager[None]:
    """Waits until these bytes are free in the room of this process, and takes them while the context is open."""
    global _room
    if num_bytes < _UNIT_BYTES:
        return contextlib.nullcontext()
    with _making:
        if _room is None:
            _room = Room(machine.available_memory() * _SHARE)
    return _room.taken(num_bytes)
