"""Lets gRPC reach machines directly, past the proxy that the environment names for requests to the internet.

gRPC sends all that it asks of any machine, of localhost too, through `grpc_proxy`, `https_proxy` or `http_proxy`, and
waits without a word if the proxy does not pass it on. It leaves out the hosts in `no_grpc_proxy`, or in `no_proxy` if
there is none.
"""

import os
from collections.abc import Iterable

# gRPC reads the names in small letters alone.
_PROXY, _EXCEPT, _EXCEPT_OF_ALL = "grpc_proxy", "no_grpc_proxy", "no_proxy"
_LOCAL = ("localhost", "127.0.0.1", "::1")


def is_here(host: str) -> bool:
    """Returns whether a host is this machine, by a name that means no other."""
    return host.strip("[]") in _LOCAL


def avoid(hosts: Iterable[str] = ()) -> None:
    """Makes gRPC reach this machine and others without a proxy, in this process and in those that it starts.

    A host that is reached through `grpc_proxy`, which is meant for gRPC alone, is left as it is; this machine is not.

    Args:
        hosts: names or addresses, without ports.
    """
    known = os.environ.get(_EXCEPT) or os.environ.get(_EXCEPT_OF_ALL, "")
    others = () if os.environ.get(_PROXY) else (host.strip("[]") for host in hosts)
    names = [name.strip() for name in known.split(",")]
    os.environ[_EXCEPT] = ",".join(dict.fromkeys(filter(None, (*names, *_LOCAL, *others))))
