"""Runs the model of a run over a split, on the classes that the model and the datasets share."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from multihot import signals
from multihot.errors import UserError
from schemas import example
from trainer import sources
from trainer.config import TrainConfig
from trainer.finished_run import FinishedRun
from trainer.input import pipeline, reading
from trainer.metrics import Predictions
from trainer.prediction import scoring
from trainer.sources import Sources

# A probability whose logarithm is finite.
_LEAST = 1e-7


class Subject(NamedTuple):
    """Names a run, and the split of datasets on which it is evaluated.

    Attributes:
        run: the run.
        config: the settings with which the split is read: the classes are the shared ones.
        data: the datasets, with the shared classes in the order of the evaluation.
        outputs: numbers of the shared classes among the outputs of the model.
        only_model: classes of the model that not all datasets have.
        only_data: classes of the datasets that the model does not have.
    """

    run: FinishedRun
    config: TrainConfig
    data: Sources
    outputs: tuple[int, ...]
    only_model: tuple[str, ...]
    only_data: tuple[str, ...]

    @property
    def split(self) -> str:
        """The name of the split."""
        return self.config.validation_split

    @property
    def thresholds(self) -> np.ndarray:
        """The thresholds of the shared classes, float32 [k]."""
        return np.array(self.run.info.thresholds, np.float32)[list(self.outputs)]


def subject(run: FinishedRun, data: Sequence[str], split: str, classes: Sequence[str] | None = None) -> Subject:
    """Chooses the classes to evaluate, and reads the manifests.

    Args:
        run: whose model is evaluated.
        data: folders of datasets; by default those of the run.
        split: its name.
        classes: to which the shared classes are restricted, in this order; by default that of the model.

    Raises:
        UserError: a folder holds no dataset, no class is shared, or no image is in the split.
    """
    infos = run.datasets(data)
    of_model = run.info.classes
    in_data = tuple(name for name in of_model if all(name in info.classes for _, info in infos))
    if not in_data:
        theirs = "; ".join(f"{folder} has {sources.some(info.classes)}" for folder, info in infos)
        raise UserError(f"The model of {run.path} has no class of the data. It has {sources.some(of_model)}; {theirs}.")
    shared = in_data if classes is None else tuple(name for name in classes if name in in_data)
    if not shared:
        raise UserError(
            f"--compare: the model of {run.path} has {sources.some(of_model)}, and none of the classes of the other "
            f"run: {sources.some(classes or ())}."
        )
    config = dataclasses.replace(run.config_for(split, data), classes=shared)
    combined = sources.combine(infos, shared, config.cache_folder)
    if not combined.split(split).num_examples:
        there = "; ".join(
            f"{folder} has {', '.join(f'{one.name} ({one.num_examples:,})' for one in info.splits)}"
            for folder, info in infos
        )
        raise UserError(
            f"There are no images to evaluate on: no image is in the split {split!r}. {there}. Use --split."
        )
    of_data = dict.fromkeys(name for _, info in infos for name in info.classes)
    return Subject(
        run,
        config,
        combined,
        tuple(run.info.classes.index(name) for name in shared),
        tuple(name for name in of_model if name not in in_data),
        tuple(name for name in of_data if name not in of_model),
    )


def predict(network: keras.Model, subject: Subject) -> Predictions:
    """Returns the predictions for every image of the split: 5 bytes for each image and class, 6 with unknown labels.

    Args:
        network: the model of the run.
        subject: what is evaluated.
    """
    config, data = subject.config, subject.data
    num = data.split(subject.split).num_examples
    num_outputs, outputs = len(subject.run.info.classes), list(subject.outputs)

    def step(images: tf.Tensor) -> tf.Tensor:
        scores = scoring.probabilities(network, subject.run.info, images)
        return scores if outputs == list(range(num_outputs)) else tf.gather(scores, outputs, axis=1)

    traced = tf.function(step, reduce_retracing=True)
    shape = (num, len(outputs))
    labels, scores = np.empty(shape, np.bool_), np.empty(shape, np.float32)
    known = np.empty(shape, np.bool_) if data.has_unknown else None
    done = 0
    for images, batch in pipeline.evaluation_dataset(config, data, subject.split):
        signals.check()
        part = slice(done, done + len(batch))
        scores[part], labels[part] = traced(images).numpy(), batch.numpy() == 1
        if known is not None:
            known[part] = batch.numpy() < example.UNKNOWN
        done = part.stop
    if not np.isfinite(scores).all():
        raise UserError(f"The model of {subject.run.path} predicts NaN: its weights are damaged. Train it again.")
    return Predictions(labels=labels, scores=scores, known=known)


def losses(predictions: Predictions, *, softmax: bool) -> np.ndarray:
    """Returns how wrong the scores of each label are: its part of the cross-entropy, float32 [n, k]; 0 where unknown.

    Args:
        predictions: of n images and k classes.
        softmax: whether the scores of an image add up to 1: then only its labels count.
    """
    scores = np.clip(predictions.scores, _LEAST, 1 - _LEAST)
    positive = predictions.labels > 0
    found = np.where(positive, -np.log(scores), 0 if softmax else -np.log1p(-scores))
    return found.astype(np.float32) if predictions.known is None else np.where(predictions.known, found, np.float32(0))


def images_of(subject: Subject, numbers: Sequence[int]) -> np.ndarray:
    """Returns some images as the model gets them, uint8 [n, size, size, 3]. The shards are read, the rest not decoded.

    Args:
        subject: what is evaluated.
        numbers: of the images in the split.
    """
    found: dict[int, np.ndarray] = {}
    first = 0
    for source in subject.data.having(subject.split):
        num = source.split(subject.split).num_examples
        wanted = [number - first for number in numbers if first <= number < first + num]
        if wanted:
            decode = pipeline.decoder_of(subject.config, source, subject.split, subject.config.image_size)
            places = tf.constant(wanted, tf.int64)
            some = reading.records(source, subject.split).enumerate()
            some = some.filter(lambda number, _, places=places: tf.reduce_any(tf.equal(number, places)))
            for number, record in some.as_numpy_iterator():
                found[first + int(number)] = decode(tf.constant([record]))[0][0].numpy()
        first += num
    size = subject.config.image_size
    return np.stack([found[number] for number in numbers]) if numbers else np.empty((0, size, size, 3), np.uint8)
