"""Lines say how far a job on other machines is, and that nothing changes any more."""

import time

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from multihot.beam import watching
from multihot.beam.watching import Progress


def _planned(number: int) -> int:
    watching.count(planned=number)
    return number


def _done(number: int) -> None:
    watching.count(done=number, rejected=number // 4)


def test_counters_of_all_steps_are_added() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    # Counters of several steps have one name.
    plans = pipeline | beam.Create([4, 8]) | "One" >> beam.Map(_planned)
    _ = plans | "Two" >> beam.Map(_done)
    _ = plans | "Three" >> beam.Filter(lambda number: number > 4) | "Four" >> beam.Map(lambda _: _done(4))
    result = pipeline.run()
    result.wait_until_finish()
    assert watching.of_counters(result) == Progress("images", 16, 12, 4)


def test_an_engine_that_tells_nothing() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([1])
    assert watching.of_counters(pipeline.run()) is None


def test_a_job_that_stands_still_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_STILL_SECONDS", 0.3)
    done = 0
    with watching.watched(lambda: Progress("shards", done, 8, None) if done else None):
        printed, end = "", time.monotonic() + 60
        for done in (1, 2):
            while printed.count("\n") < 2 * done:
                assert time.monotonic() < end
                time.sleep(0.05)
                printed += capsys.readouterr().out
        time.sleep(0.5)
    first, still, second, again = (printed + capsys.readouterr().out).splitlines()
    assert (first, second.split(",")[0]) == ("1 of 8 shards", "2 of 8 shards")
    assert still == again
    assert still.startswith("Nothing has changed for 0 min. If a worker has ended")


@pytest.mark.parametrize(
    ("progress", "rate", "line"),
    [
        (
            Progress("images", 1000, 9000, 1),
            1.25,
            "1000 of 9000 images, 1.25 images/s, 1 h 47 min left, 1 row rejected",
        ),
        (
            Progress("images", 1200000, 9000000, 12),
            5120.4,
            "1200000 of 9000000 images, 5120 images/s, 25 min left, 12 rows",
        ),
        (Progress("images", 0, 9000, 0), 0, "0 of 9000 images, 0 rows rejected"),
        (Progress("shards", 7, 8, None), 0.5, "7 of 8 shards, 0.5 shards/s, less than 1 min left"),
    ],
)
def test_the_line_says_what_is_known(progress: Progress, rate: float, line: str) -> None:
    assert watching.line(progress, rate).startswith(line)
