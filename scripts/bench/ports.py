"""Finds ports of this machine for servers, and says which of them answer."""

import contextlib
import socket


def free() -> int:
    """Returns a port that no server has, as it is now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(port: int) -> bool:
    """Returns whether a server takes connections at a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
