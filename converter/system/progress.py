"""Shows a bar on the terminal: images done, images/s, time left.

There is a bar only if the job runs in the process that was started. It is global state of this module: in all other
processes, such as workers on other machines, there is no bar and the functions do nothing.
"""

import contextlib
import threading
from collections.abc import Iterator

from tqdm import tqdm

_bar: "tqdm[None] | None" = None
_lock = threading.Lock()


@contextlib.contextmanager
def bar() -> Iterator[None]:
    """Shows the bar while the context is open, if standard error is a terminal."""
    global _bar
    with tqdm(desc="converting", unit=" images", disable=None, dynamic_ncols=True) as _bar:
        try:
            yield
        finally:
            _bar = None


def expect(num_images: int) -> None:
    """Adds to the total number of images."""
    with _lock:
        if _bar is not None:
            _bar.total = (_bar.total or 0) + num_images
            _bar.refresh()


def advance(num_images: int = 1) -> None:
    """Adds to the number of images that are done."""
    with _lock:
        if _bar is not None:
            _bar.update(num_images)
