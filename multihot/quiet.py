"""Hides the output of native libraries for developers, and imports TensorFlow when it is first needed."""

import contextlib
import functools
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from multihot import machine

# Bytes of addresses. Measured: with 1.8 GB TensorFlow can be imported and decodes an image; with 1.6 GB it aborts.
_TENSORFLOW_ADDRESSES = 2_000_000_000
# Bytes of memory of each process. With 250 MB left in a control group, a conversion was killed.
_TENSORFLOW_MEMORY = 280_000_000

_importing = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides everything written to standard error in this context, also by C++ code, unless it ends with an exception.

    For the import of TensorFlow, which reports oneDNN and missing GPUs before it reads TF_CPP_MIN_LOG_LEVEL. Later,
    this variable disables its messages unless the user has set it. Errors are also raised as exceptions.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # An interrupt is none: the messages would say nothing of it.
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def tensorflow() -> Any:
    """Returns TensorFlow, which the first call imports.

    For code that mostly runs without it: the import takes three seconds and 500 MB in each process.
    """
    with _importing:
        return _tensorflow()


@functools.cache
def _tensorflow() -> Any:
    if "tensorflow" not in sys.modules:  # The trainer has imported TensorFlow already, with the memory that it takes.
        machine.check_addresses(_TENSORFLOW_ADDRESSES, "TensorFlow")
        machine.check_memory(_TENSORFLOW_MEMORY, "TensorFlow")
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()  # Prints a message when it finds no GPU.
    return tf
