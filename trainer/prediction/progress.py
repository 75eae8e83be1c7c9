"""Shows how many images are done, how fast, and how many are left: a bar on a terminal, otherwise lines."""

import time

from tqdm import tqdm

# Between two lines where there is no terminal.
_SECONDS = 30.0


class Progress:
    """Counts images, and shows the count."""

    def __init__(self, num_files: int, num_done: int, work: str = "predicting") -> None:
        """Begins to count.

        Args:
            num_files: of all.
            num_done: of those that an earlier process has done.
            work: what is done with them, to show.
        """
        self._total, self._done, self._first = num_files, num_done, num_done
        self._began = self._shown = time.monotonic()
        self._bar = tqdm(total=num_files, initial=num_done, desc=work, unit=" images", disable=None, dynamic_ncols=True)

    def advance(self, num_files: int) -> None:
        """Adds to the number of images that are done."""
        self._done += num_files
        self._bar.update(num_files)
        if self._bar.disable and time.monotonic() - self._shown > _SECONDS:
            self._shown = time.monotonic()
            seconds = (self._total - self._done) / max(self.rate, 1e-9)
            left = tqdm.format_interval(seconds)
            print(f"{self._done:,} of {self._total:,} images, {self.rate:.0f} images/s, {left} left", flush=True)

    @property
    def rate(self) -> float:
        """Images per second of this process."""
        return (self._done - self._first) / max(time.monotonic() - self._began, 1e-9)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
