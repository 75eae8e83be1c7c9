"""Notes inside model.keras all that a program needs to use the model: classes, size of the images, thresholds.

A file of Keras is a zip archive, of which Keras reads the entries that it knows. The notes are an entry of their own:
they are wherever the model is, and `keras.saving.load_model` reads the file as before.
"""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

from multihot.errors import UserError
from schemas import typed

# Name of the entry.
_ENTRY = "multihot.json"
# To be raised when a program of today would misread the notes.
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Describes the inputs of a model, and the meaning of its outputs.

    Attributes:
        classes: names of the outputs, in their order.
        image_size: height and width of the images, pixels.
        resize: way from an image to a square: `stretch`, `crop` or `pad`.
        decode: `scaled`, or `exact` to decode images in full and resize them with antialiasing.
        lowest: value of a black pixel.
        highest: value of a white pixel.
        softmax: whether the outputs of an image add up to 1; otherwise each is a probability on its own.
        flip: whether a score is the mean of the outputs for an image and its mirror image.
        thresholds: for each class, the score from which on an image counts as having it.
        fingerprints: of the datasets that the model was trained on.
        background: the colour on which images with transparency were laid before the training.
        rescale_16bit: whether the values of images of 16 bits were mapped to the range of 8 bits.
        resize_shorter: pixels to which the shorter side of larger images was reduced before the training; 0: none was.
    """

    classes: tuple[str, ...]
    image_size: int
    resize: str
    decode: str
    lowest: int = 0
    highest: int = 255
    softmax: bool
    flip: bool
    thresholds: tuple[float, ...]
    fingerprints: tuple[str, ...]
    background: str = "white"
    rescale_16bit: bool = False
    resize_shorter: int = 0


def add(path: Path, info: ModelInfo) -> None:
    """Adds the notes to a file that Keras has written."""
    text = json.dumps({"version": _VERSION, **typed.plain(info)}, indent=1, ensure_ascii=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_ENTRY, text + "\n")


def read(path: Path) -> ModelInfo:
    """Returns the notes of a file.

    Raises:
        UserError: the file is no model of multihot, or one of another version.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            fields: dict[str, Any] = json.loads(archive.read(_ENTRY))
        version = fields.pop("version")
        if version == _VERSION:
            return typed.build(fields, ModelInfo)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path} does not say which classes it predicts: it has no {_ENTRY}, which the trainer of multihot adds. "
            "A run of an older version is trained again by the command in its config.json."
        ) from None
    raise UserError(f"{path} is from another version of multihot: its {_ENTRY} has the version {version!r}.")
