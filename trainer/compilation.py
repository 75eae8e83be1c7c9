"""Compiles a model: gives it its loss, its optimizer and its learning-rate schedule."""

import keras
import tensorflow as tf

from trainer import losses, model, pipeline
from trainer.config import TrainConfig
from trainer.sources import Sources

_WARMUP_EPOCHS = 3


def compile_model(config: TrainConfig, data: Sources) -> keras.Model:
    """Builds the model of a run, and compiles it. Metrics are computed after an epoch (validation.py)."""
    network = model.build(config, data.split(config.train_split).statistics)
    compile_network(network, config, data)
    return network


def compile_network(network: keras.Model, config: TrainConfig, data: Sources, steps_per_execution: int = 1) -> None:
    """Gives a network its optimizer, its schedule and its loss.

    Args:
        network: the model of a run, or its head.
        config: of the run.
        data: its datasets, which give the steps of an epoch.
        steps_per_execution: steps that run before Keras returns to Python.
    """
    network.compile(
        optimizer=keras.optimizers.AdamW(
            schedule(config, pipeline.steps_per_epoch(config, data)), weight_decay=config.weight_decay
        ),
        loss=losses.of_run(config, data),
        # XLA made an epoch of the default recipe half as long again on CPU.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
        steps_per_execution=steps_per_execution,
    )
    if data.has_unknown:
        losses.set_loss(network, config.loss)


def schedule(config: TrainConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate of a run.

    Args:
        config: of the run.
        steps: in an epoch.
    """
    if config.schedule == "constant":
        return config.learning_rate
    warmup = min(_WARMUP_EPOCHS, config.epochs // 2) * steps
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
