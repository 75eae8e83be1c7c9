"""Reads, prepares and decodes files on threads, in order.

    file -> bytes -> proved, turned upright, laid on the background -> decoded and resized in the graph -> batch

A file is prepared as a conversion prepares it (multihot/images), and decoded as a training decodes it
(trainer/input/decoding.py): the model gets the pixels that it would have got from a dataset.
"""

import collections
import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from multihot import limits, storage
from multihot.images import decoders, prove
from multihot.images.background import parse_colour
from multihot.images.prove import Image, ImageError, Preparation
from multihot.limits import Limits
from multihot.reasons import Reason
from multihot.storage import File, FileTooLargeError, StoreError, ahead
from trainer.input.decoding import ImageDecoder
from trainer.model_file import ModelInfo


class Fault(NamedTuple):
    """The reason why there is no prediction for a file.

    Attributes:
        reason: one of the closed list.
        detail: description, for people.
    """

    reason: Reason
    detail: str


class Batch(NamedTuple):
    """Some files, and their images.

    Attributes:
        names: of the files: their paths.
        images: of those without a fault, in their order: uint8 [m, size, size, 3].
        faults: for each file its fault, or None.
    """

    names: list[str]
    images: npt.NDArray[np.uint8]
    faults: list[Fault | None]


# A name, and the function that reads the content that has it.
_Item = tuple[str, Callable[[], bytes]]


class Reader:
    """Turns files into batches of images for a model."""

    def __init__(self, info: ModelInfo, most: Limits = limits.DEFAULT) -> None:
        """Prepares to read for a model.

        Args:
            info: what the model takes, and how the images that it was trained on were prepared.
            most: limits of one image.
        """
        self._size, self._most = info.image_size, most
        self._preparation = Preparation(
            max_pixels=most.max_pixels,
            max_bytes=most.max_image_bytes,
            resize_shorter=info.resize_shorter,
            rescale_16bit=info.rescale_16bit,
            background=parse_colour(info.background),
        )
        decoder = ImageDecoder(size=info.image_size, exact=info.decode == "exact", resize=info.resize)
        signature = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 2], tf.int32)]
        self._decode = tf.function(decoder.decode, input_signature=signature)
        self._fit = tf.function(decoder.fit, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])

    def batches(self, files: Iterable[File], batch_size: int, num_threads: int) -> Iterator[Batch]:
        """Yields the images of files, in order.

        Args:
            files: to read.
            batch_size: files of a batch; the last one has what remains.
            num_threads: batches that are read and decoded at a time. One more of them is held in memory.

        Raises:
            UserError: an image cannot be decoded because of the machine.
            StoreError: a store refuses a request, or does not answer.
        """
        pending: collections.deque[Future[Batch]] = collections.deque()
        with ThreadPoolExecutor(num_threads) as pool, contextlib.closing(self._contents(files)) as items:
            try:
                while some := list(itertools.islice(items, batch_size)):
                    pending.append(pool.submit(self.batch, some))
                    if len(pending) > num_threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _contents(self, files: Iterable[File]) -> Generator[_Item]:
        """Yields each file with the function that reads it. Objects of stores are read ahead."""
        most = self._most.max_image_bytes
        for is_local, some in itertools.groupby(files, lambda file: storage.is_local(file.path)):
            if is_local:
                yield from ((file.path, _reads(file.path, most)) for file in some)
            else:
                for file, content in ahead.read(some, lambda file: file, most):
                    yield file.path, content

    def batch(self, items: Sequence[_Item]) -> Batch:
        """Reads, prepares and decodes some files.

        Args:
            items: their names, and functions that read them.

        Raises:
            UserError: an image cannot be decoded because of the machine.
            StoreError: a store refuses a request, or does not answer.
        """
        prepared = [self._prepare(*item) for item in items]
        images, faults = self._decoded(prepared)
        return Batch([name for name, _ in items], images, faults)

    def decoded(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Returns an encoded image, which must be sound, in the size of the model: uint8 [1, size, size, 3]."""
        return self.batch([("", lambda: data)]).images

    def fit(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Returns an image of the size of the model: uint8 [height, width, 3] -> uint8 [size, size, 3]."""
        fitted: npt.NDArray[np.uint8] = self._fit(pixels).numpy()
        return fitted

    def _prepare(self, name: str, read: Callable[[], bytes]) -> Image | Fault:
        try:
            data = read()
            if not data:
                return Fault(Reason.EMPTY_FILE, "the file has no bytes")
            with decoders.told(name):
                return prove.prepare(data, self._preparation)
        except ImageError as error:
            return Fault(*error.args)
        except StoreError:
            raise
        except FileTooLargeError as error:
            return Fault(Reason.TOO_LARGE, error.sentence)
        except FileNotFoundError:
            return Fault(Reason.MISSING_FILE, "there is no such file")
        except OSError as error:
            return Fault(Reason.UNREADABLE_FILE, error.strerror or str(error))

    def _decoded(self, prepared: Sequence[Image | Fault]) -> tuple[npt.NDArray[np.uint8], list[Fault | None]]:
        faults = [each if isinstance(each, Fault) else None for each in prepared]
        sound = [each for each in prepared if isinstance(each, Image)]
        if not sound:
            return np.zeros((0, self._size, self._size, 3), np.uint8), faults
        shapes = np.array([(image.height, image.width) for image in sound], np.int32)
        # An array of numpy would end each of them at its last byte that is not 0.
        images: npt.NDArray[np.uint8] = self._decode(tf.constant([image.data for image in sound]), shapes).numpy()
        return images, faults


def _reads(path: str, max_bytes: int) -> Callable[[], bytes]:
    return lambda: storage.read(path, max_bytes)
