"""Keeps from the user's terminal what native libraries say to those who develop them."""

import contextlib
import functools
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from schemas import machine

# Measured: with 1.8 GB it can be imported, and decodes an image; with 1.6 GB it aborts.
_TENSORFLOW_ADDRESSES = 2_000_000_000
# Memory of its own; with 250 MB left in a control group, a conversion was killed.
_TENSORFLOW_MEMORY = 280_000_000

_importing = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what is written to standard error, by C++ code too, and shows it only if an exception leaves.

    For the import of TensorFlow, which tells of oneDNN and of missing GPUs before it reads TF_CPP_MIN_LOG_LEVEL. From
    then on that variable keeps it still, unless the user has set it: what is an error comes as an exception as well.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def tensorflow() -> Any:
    """Returns TensorFlow, imported when it is first asked for.

    For what runs without it most of the time: importing it takes three seconds and 500 MB, in each process.
    """
    with _importing:
        return _tensorflow()


@functools.cache
def _tensorflow() -> Any:
    if "tensorflow" not in sys.modules:  # The trainer has imported it, and may have used what it needs.
        machine.check_addresses(_TENSORFLOW_ADDRESSES, "TensorFlow")
        machine.check_memory(_TENSORFLOW_MEMORY, "TensorFlow")
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()  # Looks for GPUs, and tells when it finds none.
    return tf
