"""One run: build the dataset and the model, fit, evaluate, and leave everything in the run's folder.

<output>/
    config.json          flags, dataset fingerprints, versions: what it takes to do it again
    checkpoints/         last.keras after every epoch, best.keras by validation loss
    tensorboard/         for `tensorboard --logdir`
    model.keras          after the last epoch: what evaluation.json is about
    history.json         metrics of every epoch
    evaluation.json  training.png  samples.png
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import schemas
from schemas.errors import UserError
from trainer import dataset, evaluation, model, plots, runs, sources
from trainer.config import TrainConfig
from trainer.sources import Sources

_WARMUP_EPOCHS = 3
_NUM_SAMPLES = 24
_READ_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
)


def train_and_evaluate(config: TrainConfig) -> dict[str, Any]:
    """Trains a model, evaluates it on the validation split, and writes the run's folder.

    Returns:
        The contents of evaluation.json.

    Raises:
        UserError: the dataset or the configuration are at fault, or the loss is no number any more.
    """
    data = sources.load(config)
    for split in (config.train_split, config.validation_split):
        data.split(split)
    _check_output(config)
    keras.utils.set_random_seed(config.seed)
    # Before the folder is made: what is wrong with the model must not leave half a run behind.
    network = compile_model(config, data)
    output = _make_output(config)
    cache, reason = dataset.choose_cache(config, data)
    (output / runs.CONFIG).write_text(json.dumps(_description(config, data, cache), indent=1) + "\n")
    print(reason)
    if config.freeze_backbone and config.weights == "none":
        print("The backbone is frozen with random weights: only the head learns. --weights gives it others.")
    try:
        with named_shards(config, data):
            return _fit_and_evaluate(config, data, network, output, cache)
    finally:
        shutil.rmtree(output / "cache", ignore_errors=True)


def _fit_and_evaluate(
    config: TrainConfig, data: Sources, network: keras.Model, output: Path, cache: str
) -> dict[str, Any]:
    train = dataset.training_dataset(config, data, cache=_cache_file(output, cache, "train"))
    validation = dataset.evaluation_dataset(
        config, data, config.validation_split, cache=_cache_file(output, cache, "validation")
    )
    print(f"Model: {config.model}, {network.count_params():,} weights; {len(train)} steps an epoch.")
    history = network.fit(
        train,
        validation_data=validation,
        epochs=config.epochs,
        callbacks=_callbacks(output),
        shuffle=False,  # The dataset does that.
        # A bar on a terminal; in a log, where it would be written again at every step, a line for each epoch.
        verbose="auto" if os.isatty(1) else 2,
    ).history
    network.save(output / "model.keras")
    (output / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    plots.training(history, str(output / "training.png"))
    predictions = evaluation.predict(network, validation)
    result = evaluation.evaluate(predictions, data.classes)
    (output / runs.EVALUATION).write_text(json.dumps(result, indent=1) + "\n")
    images = next(validation.unbatch().batch(_NUM_SAMPLES).as_numpy_iterator())[0]
    first = evaluation.Predictions(labels=predictions.labels[: len(images)], scores=predictions.scores[: len(images)])
    plots.samples(images, first, data.classes, str(output / "samples.png"))
    return result


@contextlib.contextmanager
def named_shards(config: TrainConfig, data: Sources) -> Iterator[None]:
    """Looks for damaged shards when reading has failed: what TensorFlow says then names no file.

    Raises:
        UserError: names the shards that are missing or damaged.
    """
    try:
        yield
    except _READ_ERRORS:
        print("Reading the dataset failed: checking its shards ...")
        for source in data.each:
            dataset.check_shards(source.directory, source.info, (config.train_split, config.validation_split))
        raise


def compile_model(config: TrainConfig, data: Sources) -> keras.Model:
    """Builds the model and gives it its loss, optimizer and metrics."""
    split = data.split(config.train_split)
    network = model.build(config, split.statistics)
    steps = -(-split.num_examples // config.batch_size)
    metric: keras.Metric
    if config.loss == "binary_crossentropy":
        metric = keras.metrics.AUC(curve="PR", multi_label=True, num_labels=len(data.classes), name="mean_pr_auc")
    else:
        metric = keras.metrics.CategoricalAccuracy()
    network.compile(
        optimizer=keras.optimizers.AdamW(_schedule(config, steps), weight_decay=config.weight_decay),
        loss=config.loss,
        metrics=[metric],
        # XLA made an epoch of the default recipe half as long again on CPU.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    return network


def _schedule(config: TrainConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if config.schedule == "constant":
        return config.learning_rate
    warmup = min(_WARMUP_EPOCHS, config.epochs // 2) * steps
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends a run whose loss is no number any more: nothing that follows could be used."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the number of the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the loss.

        Raises:
            UserError: it is infinite or not a number.
        """
        self._check("loss", (logs or {}).get("loss", 0.0), f"step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the validation loss: the last step of an epoch may have broken the weights.

        Raises:
            UserError: it is infinite or not a number.
        """
        self._check("validation loss", (logs or {}).get("val_loss", 0.0), f"epoch {epoch + 1}")

    def _check(self, name: str, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            kept = " The epoch before is in checkpoints/last.keras." if self._epoch else ""
            raise UserError(
                f"The {name} is {loss} after {where}: training cannot go on. Try a lower --learning_rate.{kept}"
            )


def _callbacks(output: Path) -> list[keras.callbacks.Callback]:
    checkpoints = output / "checkpoints"
    return [
        StopOnNonFiniteLoss(),
        keras.callbacks.ModelCheckpoint(checkpoints / "last.keras"),
        keras.callbacks.ModelCheckpoint(checkpoints / "best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False),
    ]


def _check_output(config: TrainConfig) -> None:
    output = Path(config.output)
    if _holds_run(output) and not config.overwrite:
        raise UserError(f"{output} holds a run already. Choose another --output, or replace it: --overwrite")
    if output.exists() and not _holds_run(output) and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} exists and is not a run of multihot. Choose another --output.")


def _make_output(config: TrainConfig) -> Path:
    output = Path(config.output)
    if _holds_run(output):
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    return output


def _holds_run(output: Path) -> bool:
    """Whether a folder is one of ours: other programs have a config.json too."""
    try:
        return runs.datasets(json.loads((output / runs.CONFIG).read_text())) is not None
    except (OSError, ValueError, AttributeError):
        return False


def _cache_file(output: Path, cache: str, name: str) -> str | None:
    if cache == "none":
        return None
    if cache == "memory":
        return ""
    (output / "cache").mkdir(exist_ok=True)
    return str(output / "cache" / name)


def _description(config: TrainConfig, data: Sources, cache: str) -> dict[str, Any]:
    return {
        **dataclasses.asdict(config),
        "datasets": [
            {
                "path": source.directory,
                "name": source.info.name,
                "version": source.info.version,
                "fingerprint": source.info.fingerprint,
                "classes": list(source.info.classes),
            }
            for source in data.each
        ],
        "classes_used": list(data.classes),
        "cache_used": cache,
        "versions": {
            "multihot": schemas.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
