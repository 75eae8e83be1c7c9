"""`python -m trainer.data_service`: a tf.data service, whose processor loads the images of trainings elsewhere.

It needs to know nothing of a training: datasets come to it as graphs, and it reads shards from the folders that these
name. It runs until it is ended.
"""

import dataclasses
import functools
import os
import socket
import threading
from dataclasses import field

from multihot import command, flags, native_stderr, proxies
from multihot.errors import UserError
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage

_LARGEST_PORT = 65535


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataServiceOptions:
    """The settings of a service."""

    port: int = field(
        default=5050, metadata=setting("Port for trainings. The next one is used as well, for the images.")
    )
    host: str = field(
        default="localhost",
        metadata=setting("Name or address by which trainings reach this machine.", value="HOST"),
    )

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            UserError: a setting cannot be used.
        """
        if not 0 < self.port < _LARGEST_PORT:
            raise UserError(f"--port must be from 1 to {_LARGEST_PORT - 1}. Received: {self.port}")
        if not self.host or "/" in self.host:
            raise UserError(f"--host must be the name or the address of this machine. Received: {self.host!r}")


USAGE = Usage(
    module="trainer.data_service",
    description="Loads the images of trainings that name it as --data_service, until it is ended.",
    example="--port=5050",
    settings=(DataServiceOptions,),
)


def main(options: DataServiceOptions) -> None:
    """Starts the service, and waits for Ctrl-C or SIGTERM."""
    proxies.avoid([options.host])
    with quiet():
        import tensorflow as tf
    native_stderr.filter_libjpeg()
    # Its work is that of processors.
    tf.config.set_visible_devices([], "GPU")
    _check_ports(options.port)
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=options.port))
    worker = service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=f"localhost:{options.port}",
            worker_address=f"{options.host}:{options.port + 1}",
            port=options.port + 1,
        )
    )
    print(f"The data service is ready: python -m trainer ... --data_service=grpc://{options.host}:{options.port}")
    if proxies.is_here(options.host):
        print("Trainings on other machines do not reach it: --host names this machine for them.")
    print("Ctrl-C ends it.", flush=True)
    # The servers run as long as these objects are there.
    servers = (dispatcher, worker)
    threading.Event().wait()
    del servers


def _check_ports(port: int) -> None:
    """Checks that both ports are free: a second service would share those of a first one without an error.

    Raises:
        UserError: one is not.
    """
    for each in (port, port + 1):
        try:
            socket.create_server(("", each)).close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(f"Port {each} cannot be used: {reason}. Choose another --port.") from error


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
