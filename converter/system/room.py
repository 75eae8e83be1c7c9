"""Shares the memory for decoded images among all threads and processes of a conversion.

Most JPEGs are proved at an eighth of their size, and take none. An image of 128 megapixels takes 1.5 GB while it is
decoded and turned: 64 cores that meet 64 of them at a time would take 100 GB. So a large image waits until others are
done. One of any size is let in when it is alone. Like the processes of processes.py the room is state of this module.
"""

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any

from schemas import machine

# Less is not counted: 1.3 megapixels, of which 200 threads decode as many as they like.
_UNIT_BYTES = 1 << 24
# For images, of what the machine has left when a conversion begins; processes take half of it at most.
_SHARE = 1 / 3


class Room:
    """A number of bytes of which images take their parts."""

    def __init__(self, num_bytes: float, context: BaseContext | None = None):
        """Divides memory into units.

        Args:
            num_bytes: of all images at a time.
            context: of the processes that share the room; None where only threads of this process do.
        """
        self._units = max(1, int(num_bytes / _UNIT_BYTES))
        # One takes units while others wait, or two of them would wait for each other's units.
        self._turn: Any = context.Lock() if context else threading.Lock()
        self._free: Any = context.Semaphore(self._units) if context else threading.Semaphore(self._units)

    @contextlib.contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """Waits until there is room, and takes it while the context is open. A thread takes one at a time."""
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
    """Returns the room of some processes, to be given to each by `share`.

    Args:
        memory: bytes that are left for the conversion.
        context: that the processes are started in.
    """
    return Room(memory * _SHARE, context)


def share(room: Room) -> None:
    """Makes this process take what it needs of a room that others take of, too."""
    global _room
    _room = room


def taken(num_bytes: int) -> contextlib.AbstractContextManager[None]:
    """Waits until there is room for so many bytes, and takes it while the context is open."""
    global _room
    if num_bytes < _UNIT_BYTES:
        return contextlib.nullcontext()
    with _making:
        if _room is None:
            _room = Room(machine.available_memory() * _SHARE)
    return _room.taken(num_bytes)
