"""Defines Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), for the kernels of convolutions.

A step of a kernel, as a matrix, goes the same distance in all of its directions, also in those in which the gradient is
small. Keras's own Muon leaves kernels of four dimensions to AdamW.
"""

import keras
import tensorflow as tf

# Of the momentum, and of the polynomial that moves singular values towards 1: those of the authors.
_MOMENTUM = 0.95
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
# The root mean square of a step, as a share of the learning rate, is then about that of AdamW
# (https://arxiv.org/abs/2502.16982), so that both take the same rate.
_STEP = 0.2


class Muon(keras.optimizers.AdamW):
    """Muon for the kernels of convolutions, and AdamW for all other variables.

    Its settings and variables are those of AdamW; a kernel leaves the second one of its two (the velocity) as it is.
    """

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Makes the step of a variable."""
        if not _is_convolution(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[self._get_variable_index(variable)]
        gradient = tf.cast(gradient, variable.dtype)
        self.assign(momentum, _MOMENTUM * momentum + gradient)
        direction = orthogonalized(tf.reshape(gradient + _MOMENTUM * momentum, [-1, variable.shape[-1]]))
        size = _STEP * max(direction.shape) ** 0.5
        step = tf.reshape(size * direction, variable.shape)
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * step)


def _is_convolution(variable: keras.Variable) -> bool:
    """Whether a variable is the kernel of a convolution over all channels, and not of a depthwise one."""
    return len(variable.shape) == 4 and min(variable.shape[2:]) > 1


def orthogonalized(matrix: tf.Tensor) -> tf.Tensor:
    """Returns a matrix with the singular vectors of another one, and singular values of about 1 (0.7 to 1.2).

    Those below a ten thousandth of the norm may stay smaller.

    Args:
        matrix: float32 [n, m].
    """
    if matrix.shape[0] < matrix.shape[1]:
        return tf.transpose(orthogonalized(tf.transpose(matrix)))
    matrix = matrix / (tf.norm(matrix) + 1e-7)
    # Each iteration (Newton and Schulz) multiplies the matrix by a polynomial of its Gram matrix. Those are small and
    # commute, so that the large matrix is multiplied once, at the end: a kernel of 2304 x 256 took a third of the time.
    identity = tf.eye(matrix.shape[1], dtype=matrix.dtype)
    gram = tf.matmul(matrix, matrix, transpose_a=True)
    product = _factor(gram, identity)
    factor = product
    for _ in range(_ITERATIONS - 1):
        gram = tf.matmul(factor, tf.matmul(gram, factor))
        factor = _factor(gram, identity)
        product = tf.matmul(product, factor)
    return tf.matmul(matrix, product)


def _factor(gram: tf.Tensor, identity: tf.Tensor) -> tf.Tensor:
    """Returns the polynomial of a Gram matrix by which an iteration multiplies."""
    return _A * identity + _B * gram + _C * tf.matmul(gram, gram)
