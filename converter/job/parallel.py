"""Runs the calls of one step of the Beam job in several processes of this machine."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from converter.job import failures
from converter.options import ConvertOptions
from converter.system import processes


def threads_of_a_process(options: ConvertOptions) -> int:
    """Returns the number of threads with which each process reads images."""
    return -(-options.threads // processes.number())


class InProcesses(beam.DoFn):
    """(key, [[item]]) -> result: several elements at a time if there are processes for it, the largest first."""

    def __init__(self, begin: Callable[..., Callable[[], Any]], *args: Any, hands_on: bool = False):
        """Stores the function to call with each element.

        Args:
            begin: starts to work on an element, and returns a function that waits for the result; see
                converter/system/processes.py.
            args: further arguments of `begin`.
            hands_on: whether a mistake of the user goes to the output for failures (failures.py), so that a runner on
                other machines does not repeat the work. Otherwise it is raised, and ends the job at once.
        """
        super().__init__()
        self._begin, self._args, self._hands_on = begin, args, hands_on
        self._elements: list[tuple[Any, Iterable[Sized]]] = []

    def process(self, element: tuple[Any, Iterable[Sized]]) -> Iterator[Any]:
        """Yields the result of an element; with several processes, elements are kept until `finish_bundle`."""
        if processes.number() == 1:
            results = self._result(element)
            yield from failures.handed_on(results) if self._hands_on else results
        else:
            key, values = element
            self._elements.append((key, list(values)))

    def _result(self, element: tuple[Any, Iterable[Sized]]) -> Iterator[Any]:
        yield self._begin(element, *self._args)()

    def finish_bundle(self) -> Iterator[Any]:
        """Yields the results of the elements that `process` has kept."""
        # While a large element is processed last, the other processes would be idle.
        self._elements.sort(key=lambda element: -sum(map(len, element[1])))
        begun: deque[Callable[[], Any]] = deque()
        while self._elements or begun:
            # Each process has one more element waiting, so that it need not wait for this loop.
            while self._elements and len(begun) < 2 * processes.number():
                begun.append(self._begin(self._elements.pop(0), *self._args))
            yield GlobalWindows.windowed_value(begun.popleft()())
