"""Finds ports of this machine for servers, and says which of them answer."""

import contextlib
import random
import socket

# Below those that systems give to connections (Linux: from 32768 on), so that none takes a port before its server does.
_PORTS = range(20_000, 32_000)


def free(number: int = 1) -> int:
    """Returns the first of as many ports beside each other as are asked for, which no server has, as it is now.

    Raises:
        OSError: None were found.
    """
    for _ in range(100):
        first = random.choice(_PORTS)  # Two programs that look at once seldom find the same.
        with contextlib.suppress(OSError), contextlib.ExitStack() as taken:
            for port in range(first, first + number):
                taken.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise OSError(f"no {number} free ports beside each other were found in {_PORTS}")


def answers(port: int) -> bool:
    """Returns whether a server takes connections at a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
