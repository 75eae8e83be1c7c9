"""tensorflow-datasets' writer for Beam, in this process. It stores the bytes of the files and decodes none of them."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_datasets as tfds
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import program

_JOB = program.parse()


class Bench(tfds.core.BeamBasedBuilder):
    """The data set of the job."""

    VERSION = tfds.core.Version("1.0.0")
    # Where a README would be looked for. Of a program it would be the program itself, as a folder.
    pkg_dir_path = tfds.core.Path(_JOB.output)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "labels": tfds.features.Tensor(shape=(len(_JOB.rows[0][1]),), dtype=np.int64),
            "filename": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any, pipeline: beam.Pipeline) -> dict[str, beam.PCollection]:
        return {"train": pipeline | beam.Create(_JOB.rows) | beam.Map(_keyed)}


def _keyed(row: tuple[str, list[int]]) -> tuple[str, dict[str, Any]]:
    path, labels = row
    return path, {"image": path, "labels": labels, "filename": Path(path).name}


if __name__ == "__main__":
    builder = Bench(data_dir=str(_JOB.output))
    with program.Stopwatch() as watch:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(beam_runner=FnApiRunner()))
    program.tell(int(builder.info.splits["train"].num_examples), watch)
