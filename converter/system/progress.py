"""Shows a bar on the terminal: images done, images/s, time left.

The job runs on workers, which may be elsewhere; the bar is for the runners that run it in the process that was started.
So it is the one piece of state of this module, and in every other process its functions do nothing.
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
    """Adds to the number of images that there are to do."""
    with _lock:
        if _bar is not None:
            _bar.total = (_bar.total or 0) + num_images
            _bar.refresh()


def advance(num_images: int = 1) -> None:
    """Says that so many images more are done."""
    with _lock:
        if _bar is not None:
            _bar.update(num_images)
