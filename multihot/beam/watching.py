"""Says how far a job is: images, rate, time left and rejects.

Steps can count images in counters of Beam, which engines such as Dataflow and Prism tell while the job runs.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

_NAMESPACE = "multihot"
# Counters: of images in shards that are planned, of those in shards that are finished, and of rejected rows.
_PLANNED, _DONE, _REJECTED = "planned", "done", "rejected"
# Seconds between two lines, those in which the rate is measured, and those without a change that are worth a sentence.
_SECONDS, _RATE_SECONDS, _STILL_SECONDS = 30.0, 300.0, 600.0
_STILL = (
    "Nothing has changed for {minutes} min. If a worker has ended, some engines wait for it for ever. Then cancel the "
    "job: the same command continues with what is finished."
)


class Progress(NamedTuple):
    """How far a job is.

    Attributes:
        unit: what is counted: images, or shards.
        done: how many are done.
        planned: how many there are, as far as it is known; 0 if it is not.
        rejected: number of rejected rows; None if it is not known.
    """

    unit: str
    done: int
    planned: int
    rejected: int | None


def count(*, planned: int = 0, done: int = 0, rejected: int = 0) -> None:
    """Adds to the counters, in a step of the job."""
    for name, number in ((_PLANNED, planned), (_DONE, done), (_REJECTED, rejected)):
        if number:
            Metrics.counter(_NAMESPACE, name).inc(number)


@contextlib.contextmanager
def watched(look: Callable[[], Progress | None]) -> Iterator[None]:
    """Prints a line about the job from time to time, while the context is open and if anything has changed.

    Prism waits for ever for a worker that was killed between two steps, so that a sentence says if nothing changes.

    Args:
        look: says how far the job is; None if that is not known. It may raise any error: a later line asks again.
    """
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(look, ended), name="watching", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()


def _watch(look: Callable[[], Progress | None], ended: threading.Event) -> None:
    seen: list[tuple[float, Progress]] = []
    changed, is_said = time.monotonic(), False
    while not ended.wait(_SECONDS):
        now = None
        # The engine or a store may not answer now.
        with contextlib.suppress(Exception):
            now = look()
        if now and not ended.is_set() and (not seen or now != seen[-1][1]):
            seen = [each for each in seen if time.monotonic() - each[0] < _RATE_SECONDS]
            seen.append((time.monotonic(), now))
            print(line(now, _rate(seen)), flush=True)
            changed, is_said = time.monotonic(), False
        elif not is_said and time.monotonic() - changed > _STILL_SECONDS and not ended.is_set():
            print(_STILL.format(minutes=round(_STILL_SECONDS / 60)), flush=True)
            is_said = True


def _rate(seen: list[tuple[float, Progress]]) -> float:
    """Returns how many were done in a second lately; 0 if it is not known."""
    (first, start), (last, end) = seen[0], seen[-1]
    return max(0.0, (end.done - start.done) / (last - first)) if last > first and start.unit == end.unit else 0.0


def of_counters(result: PipelineResult) -> Progress | None:
    """Returns what the engine tells; None if it tells nothing."""
    result._metrics = None  # A portable runner keeps its first answer.
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]
    # An image whose step is repeated may be counted twice in what is attempted.
    sums = {name: sum(each.result or 0 for each in found if each.key.metric.name == name) for name in (_DONE, _PLANNED)}
    if not sums[_PLANNED]:
        return None
    rejected = sum(each.result or 0 for each in found if each.key.metric.name == _REJECTED)
    return Progress("images", sums[_DONE], sums[_PLANNED], rejected)


def line(now: Progress, rate: float) -> str:
    """Returns the line about a job.

    Args:
        now: how far it is.
        rate: how many are done in a second; 0 if it is not known.
    """
    words = [f"{now.done} of {now.planned} {now.unit}"]
    if rate:
        words += [f"{_shown(rate)} {now.unit}/s", f"{_duration((now.planned - now.done) / rate)} left"]
    if now.rejected is not None:
        words.append(f"{now.rejected} {'row' if now.rejected == 1 else 'rows'} rejected")
    return ", ".join(words)


def _shown(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "less than 1 min"
    )
