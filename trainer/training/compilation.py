"""Compiles a model: gives it its loss, its optimizer and its learning-rate schedule."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer import losses
from trainer.config import TrainConfig
from trainer.input import pipeline
from trainer.sources import Sources
from trainer.training import averaging, muon

_Make = Callable[..., keras.optimizers.Optimizer]

_WARMUP_EPOCHS = 3
# Each without and with an average of the weights.
_OPTIMIZERS: Mapping[str, tuple[_Make, _Make]] = {
    "adamw": (keras.optimizers.AdamW, averaging.AdamW),
    "muon": (muon.Muon, averaging.Muon),
}


def compile_network(network: keras.Model, config: TrainConfig, data: Sources, steps_per_execution: int = 1) -> None:
    """Gives a network its optimizer, its schedule and its loss.

    Args:
        network: the model of a run, or its head. Only its trainable weights are trained.
        config: of the run, or of a phase of it.
        data: its datasets, which give the steps of an epoch.
        steps_per_execution: steps that run before Keras returns to Python.
    """
    network.compile(
        # In float16, Keras puts an optimizer around it that scales the loss, and leaves out steps that overflow.
        optimizer=optimizer(network, config, pipeline.steps_per_epoch(config, data)),
        loss=losses.of_run(config, data),
        # XLA made an epoch of the default recipe half as long again on CPU.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
        steps_per_execution=steps_per_execution,
    )
    # Now, and not in the first step: a checkpoint may be put into it before.
    network.optimizer.build(network.trainable_variables)
    network.get_compile_config = lambda: _compile_config(network, config)


def optimizer(network: keras.Model, config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a network.

    Args:
        network: of which the trainable weights are trained.
        config: of the run, or of a phase of it.
        steps: batches in an epoch.
    """
    arguments = {
        "learning_rate": schedule(config, steps),
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": config.accumulate if config.accumulate > 1 else None,
    }
    plain, averaging_too = _OPTIMIZERS[config.optimizer]
    if config.ema:
        made = averaging_too(averaging.weights_to_average(network), config.ema, **arguments)
    else:
        made = plain(**arguments)
    # Biases, and the scales and offsets of normalization: decay would only pull outputs to 0, and norms to nothing.
    made.exclude_from_weight_decay([variable for variable in network.trainable_variables if len(variable.shape) < 2])
    return made


def schedule(config: TrainConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate of a run. Keras asks for that of a batch, also if several batches make one step.

    Args:
        config: of the run, or of a phase of it.
        steps: batches in an epoch.
    """
    if config.schedule == "constant":
        return config.learning_rate
    warmup = int(min(_WARMUP_EPOCHS, config.epochs / 2) * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def _compile_config(network: keras.Model, config: TrainConfig) -> dict[str, Any]:
    """Returns what the file of a compiled model says of its optimizer and its loss, in terms of Keras alone."""
    scaled = isinstance(network.optimizer, keras.optimizers.LossScaleOptimizer)
    inner = network.optimizer.inner_optimizer if scaled else network.optimizer
    plain = keras.optimizers.AdamW.from_config(inner.get_config())
    if scaled:
        # Programs that load the model may compute in another type themselves, and Keras would not scale then.
        plain = keras.optimizers.LossScaleOptimizer(plain)
    return {
        **type(network).get_compile_config(network),
        "optimizer": keras.optimizers.serialize(plain),
        "loss": losses.of_keras(config),
    }
