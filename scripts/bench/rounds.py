"""Rounds of all readers, alternating, each in its process."""

import math
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from input_rows import Row
from reader_process import ReaderError, ReaderProcess
from report import Measurement
from same_images import SameImages

_ROOT = Path(__file__).resolve().parents[2]
# Passes of which the first is not counted, and the second tells how long one takes.
_TRIAL_EPOCHS = 2


class Readers:
    """Processes of readers by name, which are started when they are first asked."""

    def __init__(self, timeout_seconds: float):
        self._timeout_seconds = timeout_seconds
        self._running: dict[str, ReaderProcess] = {}

    def ask(self, row: Row, images: SameImages, **more: Any) -> dict[str, Any]:
        """Returns the answer to the request of a row.

        Raises:
            ReaderError: there is none.
        """
        if row.reader not in self._running:
            self._running[row.reader] = ReaderProcess(row.reader, python(row.environment))
        request = {
            "dataset": images.dataset,
            "folder": images.folder,
            "num_images": images.num_images,
            "num_classes": len(images.positives),
            **row.request,
            **more,
        }
        try:
            return self._running[row.reader].ask(request, self._timeout_seconds)
        except ReaderError:
            del self._running[row.reader]
            raise

    def kill(self) -> None:
        """Ends all of them."""
        for process in self._running.values():
            process.kill()


def measure(
    rows: Sequence[Row], images: SameImages, *, rounds: int, seconds: float, timeout_seconds: float
) -> dict[str, Measurement]:
    """Measures rows, and prints which could not be, and why.

    Args:
        rows: to measure.
        images: that all of them read.
        rounds: in which all are run one after the other.
        seconds: that the measured part of a round takes at least, nearly; it has whole epochs.
        timeout_seconds: after which a reader is taken for hung, and killed.

    Returns:
        images/s of each, by its full name.
    """
    answers: dict[str, list[dict[str, Any]]] = {row.full_name: [] for row in rows}
    epochs: dict[str, int] = {}
    failed: dict[str, str] = {}
    with readers(timeout_seconds) as asked:
        for row in rows:
            _tell(row.full_name)
            with _noted(row, failed):
                check(row, asked.ask(row, images, epochs=1, check=True), images)
                epochs[row.full_name] = row.request.get("epochs") or _epochs(asked, row, images, seconds)
        for number in range(rounds):
            _tell(f"round {number + 1} of {rounds}")
            for row in rows:
                if row.full_name not in failed:
                    with _noted(row, failed):
                        answers[row.full_name].append(asked.ask(row, images, epochs=epochs[row.full_name]))
    _tell("")
    for name, reason in failed.items():
        print(f"not measured: {name}: {reason}")
    return {name: _measurement(name, answers[name], epochs[name]) for name in answers if name not in failed}


def _epochs(asked: Readers, row: Row, images: SameImages, seconds: float) -> int:
    """Returns how many epochs a round has, with the first one, which is not measured."""
    trial = asked.ask(row, images, epochs=_TRIAL_EPOCHS)
    rate = trial["steady_images"] / trial["steady_seconds"]
    return 1 + max(1, math.ceil(seconds * rate / images.num_images))


@contextmanager
def readers(timeout_seconds: float) -> Iterator[Readers]:
    """Gives readers for a while, and ends them."""
    made = Readers(timeout_seconds)
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def _noted(row: Row, failed: dict[str, str]) -> Iterator[None]:
    """Notes that a row has failed, and why."""
    try:
        yield
    except ReaderError as error:
        failed[row.full_name] = str(error)


def python(environment: str) -> Path:
    """Returns the interpreter of an environment: that of .venv-interop-NAME, or for "" that of the checkout.

    Raises:
        ReaderError: it is not there.
    """
    folder = _ROOT / f".venv-interop-{environment}"
    if not environment:
        return Path(sys.executable)
    if not (folder / "bin" / "python").exists() or (folder / ".reason").exists():
        raise ReaderError(f"{folder.name} is not there; scripts/interop_venvs {environment} makes it, or says why not")
    return folder / "bin" / "python"


def check(row: Row, answer: dict[str, Any], images: SameImages) -> None:
    """Compares what a reader gave with the images.

    Raises:
        ReaderError: it left some out, gave some twice, or gave them labels of others.
    """
    wanted = (images.num_images, list(images.positives))
    received = (answer["images"], answer["positives"])
    if received != wanted:
        raise ReaderError(f"it gave {received[0]} images with labels {received[1]}, not {wanted[0]} with {wanted[1]}")


def _measurement(name: str, answers: Sequence[dict[str, Any]], epochs: int) -> Measurement:
    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    return Measurement(
        name,
        "images/s",
        tuple(answer["steady_images"] / answer["steady_seconds"] for answer in answers),
        {
            "epochs": epochs,
            "first batch s": median(answer["first_batch_seconds"] for answer in answers),
            "CPU us/image": median(1e6 * answer["cpu_seconds"] / answer["images"] for answer in answers),
        },
    )


def _tell(text: str) -> None:
    """Shows where it is, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:60}\r", end="", file=sys.stderr, flush=True)
