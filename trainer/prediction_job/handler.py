"""Loads the exported model once in each process, and predicts on parts: the handler for Beam's RunInference.

The images of a part are read, prepared and decoded by the code of the command that predicts here, and the model gets
the same pixels. Only the list of a part and its rows go from one step to another, whatever an engine fuses.
"""

import itertools
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from apache_beam.ml.inference.base import ModelHandler

from multihot import machine, quiet, storage
from multihot.beam import workers
from multihot.errors import UserError
from multihot.reasons import Reason
from trainer.prediction_job.folder import Folder, Part

# The code that workers must have in common with the launcher.
PACKAGE = "trainer"


class Predicted(NamedTuple):
    """A part and its rows."""

    part: Part
    rows: bytes


class Handler(ModelHandler):
    """Part -> Predicted."""

    def __init__(self, folder: Folder, launcher: str) -> None:
        """Stores what workers need.

        Args:
            folder: of the job.
            launcher: what `workers.version` returns on the launcher.
        """
        super().__init__()
        self._folder, self._launcher = folder, launcher

    def load_model(self) -> "Predictor":
        """Returns the model, for all threads of this process.

        Raises:
            UserError: this worker has other code than the launcher, or cannot open the folder of the job.
            OSError: the model cannot be read.
        """
        workers.check(self._folder.path, self._launcher, PACKAGE)
        return Predictor(self._folder)

    def run_inference(
        self, batch: Sequence[Part], model: "Predictor", inference_args: dict[str, Any] | None = None
    ) -> Iterator[Predicted]:
        """Yields the rows of each part."""
        return (Predicted(part, model.rows(part)) for part in batch)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Returns what makes a batch of one part, which has images for many batches of the model."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[Part]) -> int:
        """Returns the number of bytes of the lists of some parts."""
        return sum(part.num_bytes for part in batch)


class Predictor:
    """The exported model, and the reader of images for it."""

    def __init__(self, folder: Folder) -> None:
        """Loads the model.

        Args:
            folder: of the job.
        """
        tf = quiet.tensorflow()
        from trainer.exporting.serving import IMAGES
        from trainer.prediction.reading import Reader
        from trainer.prediction.table import Format
        from trainer.system import numerics

        numerics.choose_for_predictions(folder.precision)
        self._folder, self._tf, self._images = folder, tf, IMAGES
        with tempfile.TemporaryDirectory() as unpacked:
            folder.unpack_model(unpacked)
            self._loaded = tf.saved_model.load(unpacked)
        self._signature = self._loaded.signatures[IMAGES]
        self._reader, self._format = Reader(folder.info, folder.limits), Format(folder.info)
        # A part keeps all cores busy. Several at a time would take more memory, and no less time.
        self._alone = threading.Lock()

    def rows(self, part: Part) -> bytes:
        """Returns the rows of a part, as lines of a CSV.

        Raises:
            UserError: an image cannot be decoded because of the machine, no file is there, or another job has replaced
                the list.
            OSError: the list cannot be read, or a store refuses a request or does not answer.
        """
        from trainer.prediction import places

        names = self._folder.read_list(part)
        files = [places.named(self._folder.image(name)) for name in names]
        rows, num_missing, named = list[bytes](), 0, iter(names)
        with self._alone:
            for batch in self._reader.batches(files, self._folder.batch_size, machine.usable_cores()):
                # The rows have the paths as they were found.
                found = batch._replace(names=list(itertools.islice(named, len(batch.names))))
                rows.append(self._format.lines(found, self._scores(batch.images)))
                num_missing += sum(fault.reason == Reason.MISSING_FILE for fault in batch.faults if fault)
        if num_missing == part.num_files and storage.is_local(names[0]):
            raise UserError(
                f"A worker finds none of {num_missing:,} files, such as {files[0].path}. On other machines, images "
                "must be in a store, or in folders that all of them share."
            )
        return b"".join(rows)

    def _scores(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns the probabilities of the classes, float32 [n, k], of images uint8 [n, size, size, 3]."""
        from trainer.exporting.serving import PROBABILITIES

        if not len(images):
            return np.zeros((0, len(self._folder.info.classes)), np.float32)
        found = self._signature(**{self._images: self._tf.constant(images)})
        scores: npt.NDArray[np.float32] = found[PROBABILITIES].numpy()
        return scores
