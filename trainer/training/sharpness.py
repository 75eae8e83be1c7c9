"""Trains with sharpness-aware minimization (SAM, Foret et al. 2021, https://arxiv.org/abs/2010.01412).

A step follows the gradient at nearby weights, at which the loss is higher, so that training ends at weights around
which the loss is low. It computes two gradients, and takes about twice the time.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# A gradient of 0 has no direction.
_LEAST_NORM = 1e-12


def model_of(network: keras.Model, rho: float) -> keras.Model:
    """Returns a model of the layers of another one, to be compiled by itself.

    Args:
        network: the other one.
        rho: the radius of SAM; 0: steps are those of keras.Model.
    """
    # Without a weight that is trained, there is no direction.
    if not rho or not network.trainable_variables:
        return keras.Model(network.inputs, network.outputs, name=network.name)
    return _SharpnessAware(network.inputs, network.outputs, rho=rho, name=network.name)


class _SharpnessAware(keras.Model):
    """A model whose steps are those of SAM. All else is as in keras.Model."""

    def __init__(self, inputs: Any, outputs: Any, *, rho: float, name: str) -> None:
        """Builds a model.

        Args:
            inputs: as keras.Model takes them.
            outputs: as keras.Model takes them.
            rho: distance of the nearby weights: the norm of the change of all trainable weights.
            name: of the model.
        """
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._rho = rho

    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains a batch (images, labels), and returns the metrics. The loss is that at the weights before the step."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            scores = self(images, training=True)
            loss = self.compute_loss(images, labels, scores)
            scaled = self.optimizer.scale_loss(loss)
        # With a strategy, Keras divides the loss among the replicas.
        whole = loss * tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)
        self._loss_tracker.update_state(whole, sample_weight=tf.shape(images)[0])
        # A layer may have weights that it does not use.
        zero = tf.UnconnectedGradients.ZERO
        upwards = tape.gradient(scaled, [variable.value for variable in variables], unconnected_gradients=zero)
        # The gradient of an embedding has some of its rows.
        nearby = self._nearby(variables, [tf.convert_to_tensor(gradient) for gradient in upwards])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(nearby)
            # The scope leaves out all that this pass would change. The first one has updated batch normalization.
            # Losses that layers add are a part of the loss here too; by default, the scope would leave them out.
            mapping = list(zip(variables, nearby, strict=True))
            with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
                loss = self.compute_loss(images, labels, self(images, training=True))
            scaled = self.optimizer.scale_loss(loss)
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, nearby), variables, strict=True))
        return self.compute_metrics(images, labels, scores)

    def _nearby(self, variables: Sequence[keras.Variable], gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the weights at the distance rho, in the direction in which the loss grows most."""
        # All replicas take the gradient at the same weights, as one device would.
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            replica = tf.distribute.get_replica_context()
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        scale = self._rho / tf.maximum(tf.linalg.global_norm(gradients), _LEAST_NORM)
        return [variable.value + scale * gradient for variable, gradient in zip(variables, gradients, strict=True)]
