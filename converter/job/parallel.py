"""Runs the calls of one step of the Beam job in several processes of this machine."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from converter.system import processes


class InProcesses(beam.DoFn):
    """(key, [[item]]) -> what comes of it: several at a time, where there are processes for it, the largest first."""

    def __init__(self, begin: Callable[..., Callable[[], Any]], *args: Any):
        """Takes the function that begins with an element, and returns one that waits for what comes of it.

        Args:
            begin: the function, see converter/system/processes.py.
            args: of it, beside the element.
        """
        super().__init__()
        self._begin, self._args = begin, args
        self._elements: list[tuple[Any, Iterable[Sized]]] = []

    def process(self, element: tuple[Any, Iterable[Sized]]) -> Iterator[Any]:
        """Yields what comes of an element; if there are processes, later."""
        if processes.number() == 1:
            yield self._begin(element, *self._args)()
        else:
            self._elements.append(element)

    def finish_bundle(self) -> Iterator[Any]:
        """Yields what comes of those that are left."""
        # A large one at the end would be worked at alone.
        self._elements.sort(key=lambda element: -sum(map(len, element[1])))
        begun: deque[Callable[[], Any]] = deque()
        while self._elements or begun:
            # While one is worked at, the next one is handed over.
            while self._elements and len(begun) < 2 * processes.number():
                begun.append(self._begin(self._elements.pop(0), *self._args))
            yield GlobalWindows.windowed_value(begun.popleft()())
