"""Chooses the images that a model got most wrong, and makes small pictures of them with class activation maps."""

import base64
import io
from typing import Any

import keras
import numpy as np
from PIL import Image

from trainer.evaluation import maps, predicting
from trainer.evaluation.predicting import Subject
from trainer.input.listing import Listing
from trainer.metrics import Predictions

# Images that are listed and shown: two pictures of each, of some 10 kB.
MOST_IMAGES = 24
# Classes that are listed of an image, the most wrong ones first.
_MOST_CLASSES = 5
# Longest side of a picture, pixels.
_SIDE = 240
# Colours of places that speak for a class and against it, and the share of them in the picture where they do so most.
_FOR, _AGAINST, _SHARE = np.array([255, 120, 0]), np.array([0, 90, 255]), 0.65


def find(subject: Subject, predictions: Predictions, listing: Listing) -> list[dict[str, Any]]:
    """Returns the images with the highest mean loss of their known labels, the highest first.

    Args:
        subject: what is evaluated.
        predictions: for its images.
        listing: of the same images.

    Returns:
        for each image: its number in the split, its name, loss, known positive labels, predicted labels, and the labels
        that add most to the loss, with their scores.
    """
    softmax = subject.run.info.softmax
    n, k = predictions.scores.shape
    means = np.empty(n, np.float32)
    size = max(1, (1 << 22) // max(1, k))
    for start in range(0, n, size):
        part = predictions[start : start + size]
        known = np.full(len(part.labels), k) if part.known is None else part.known.sum(axis=1)
        means[start : start + size] = predicting.losses(part, softmax=softmax).sum(axis=1) / np.maximum(known, 1)
    # Stable, so that equal losses keep their order.
    chosen = np.argsort(-means, kind="stable")[:MOST_IMAGES]
    return [_described(int(number), float(means[number]), subject, predictions, listing) for number in chosen]


def _described(
    number: int, loss: float, subject: Subject, predictions: Predictions, listing: Listing
) -> dict[str, Any]:
    one, classes = predictions[number : number + 1], subject.data.classes
    losses = predicting.losses(one, softmax=subject.run.info.softmax)[0]
    known = np.ones(len(classes), bool) if one.known is None else one.known[0]
    positive, predicted = (one.labels[0] > 0) & known, one.scores[0] >= subject.thresholds
    return {
        "number": number,
        "filename": listing.filenames[number],
        "loss": loss,
        "labels": [classes[i] for i in np.flatnonzero(positive)],
        "predicted": [classes[i] for i in np.argsort(-one.scores[0], kind="stable") if predicted[i]],
        "most_wrong": [
            {"class": classes[i], "label": int(positive[i]), "score": float(one.scores[0, i])}
            for i in np.argsort(-losses, kind="stable")[:_MOST_CLASSES]
            if losses[i] > 0
        ],
    }


def pictures(
    network: keras.Model, subject: Subject, worst: list[dict[str, Any]]
) -> tuple[list[tuple[str, str]], bool | None]:
    """Returns two pictures for each image as the model gets it: the image, and the map of its most wrong class over it.

    Args:
        network: the model of the run.
        subject: what is evaluated.
        worst: the images, as `find` returns them.

    Returns:
        data URIs of JPEGs, the second one "" without a map; and whether the maps are exact, None without maps.
    """
    images = predicting.images_of(subject, [one["number"] for one in worst])
    outputs = [_output(subject, one) for one in worst]
    found = maps.compute(network, images, outputs)
    result = []
    for i, image in enumerate(images):
        result.append((_data_uri(image), "" if found is None else _data_uri(_overlaid(image, found.values[i]))))
    return result, found.exact if found else None


def _output(subject: Subject, one: dict[str, Any]) -> int:
    """Returns the output of the model whose map is shown."""
    names = [each["class"] for each in one["most_wrong"]] or list(subject.data.classes)
    return subject.run.info.classes.index(names[0])


def _overlaid(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns an image with a map over it: more colour where a place says more, uint8 [size, size, 3]."""
    size = (image.shape[1], image.shape[0])
    large = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    share = (np.abs(large) / max(float(np.abs(values).max()), 1e-12) * _SHARE)[..., None].clip(0, _SHARE)
    grey = image.mean(axis=2, keepdims=True)
    mixed = grey * (1 - share) + np.where(large[..., None] > 0, _FOR, _AGAINST) * share
    return mixed.round().clip(0, 255).astype(np.uint8)


def _data_uri(pixels: np.ndarray) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
