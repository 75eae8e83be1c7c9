"""Keeps from the user's terminal what native libraries say to those who develop them."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


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
