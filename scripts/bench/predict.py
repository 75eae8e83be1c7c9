"""Measures predictions on files: `scripts/bench_predict` runs it.

All rows are in one process, and in each round each of them predicts on the same files, one row after the other. No row
looks at mirror images. Rows in bfloat16 are there if the processor is fast in it.
"""

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable

import report
from report import Measurement

_BATCH = 32
_OURS, _ALONE, _PLAIN = "files, as trainer.predict", "the model alone, ready batches", "keras.Model.predict"
_IN_BFLOAT16 = ", --precision=auto"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench_predict", description="Measures predictions on files.")
    parser.add_argument("--run", required=True, help="folder of a run, whose model predicts")
    parser.add_argument("--images", required=True, help="folder of images; there must be no other files in it")
    parser.add_argument("--count", type=int, default=1000, help="images of a round, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file to write everything to")
    flags = parser.parse_args()
    rows, count = _rows(flags.run, flags.images, flags.count)
    rates: dict[str, list[float]] = {name: [] for name in rows}
    # Processor time of all threads, which other programs on the machine change less than the rate.
    costs: dict[str, list[float]] = {name: [] for name in rows}
    for predict in rows.values():  # Once for what is only made once.
        predict()
    for _ in range(flags.rounds):
        for name, predict in rows.items():
            begun, used = time.perf_counter(), time.process_time()
            predict()
            rates[name].append(count / (time.perf_counter() - begun))
            costs[name].append(1000 * (time.process_time() - used) / count)
    measured = [
        Measurement(name, "images/s", tuple(values), {"processor ms": statistics.median(costs[name])})
        for name, values in rates.items()
    ]
    print(report.table(measured, [_ALONE, _PLAIN]))
    if flags.json:
        report.write_json(flags.json, measured, {}, report.machine(("tensorflow", "keras", "numpy")))


def _rows(run: str, folder: str, most: int) -> tuple[dict[str, Callable[[], object]], int]:
    """Returns functions that predict on all images, by the names of their rows, and the number of the images."""
    import keras
    import numpy as np

    from multihot import machine
    from trainer import finished_run
    from trainer.prediction import places
    from trainer.prediction.reading import Reader
    from trainer.prediction.scoring import Scores
    from trainer.system import devices, numerics

    found = finished_run.find(run)
    info, network = dataclasses.replace(found.info, flip=False), found.load_model()
    files = list(itertools.islice(places.files([folder]), most))
    files = files[: len(files) // _BATCH * _BATCH]
    reader, scores = Reader(info), Scores(network, info)
    ready = np.concatenate([batch.images for batch in reader.batches(files, _BATCH, machine.usable_cores())])
    if len(ready) < len(files):
        raise SystemExit(f"{len(files) - len(ready)} files in {folder} are no images that can be used.")
    size = (info.image_size, info.image_size)
    # Only whole batches, so that all rows have the same number of images.
    plain = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=size, batch_size=_BATCH, shuffle=False
    ).take(len(files) // _BATCH)

    def ours() -> None:
        for batch in reader.batches(files, _BATCH, machine.usable_cores()):
            scores(batch.images)

    def alone() -> None:
        for start in range(0, len(ready), _BATCH):
            scores(ready[start : start + _BATCH])

    def in_bfloat16(predict: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            numerics.choose_for_predictions("auto")
            try:
                predict()
            finally:
                numerics.choose_for_predictions("float32")

        return run

    rows: dict[str, Callable[[], object]] = {_OURS: ours, _ALONE: alone}
    if devices.processor_computes_bfloat16_fast():
        rows |= {f"{name}{_IN_BFLOAT16}": in_bfloat16(row) for name, row in rows.items()}
    return {**rows, _PLAIN: lambda: network.predict(plain, verbose=0)}, len(files)


if __name__ == "__main__":
    main()
