"""Starts processes that write shards and compare fingerprints, where the job runs in this process.

Threads of one process share an interpreter lock, and hand it over at every system call: on two cores, two threads
converted 1.1 times as many images as one, and two processes 1.6 times (scripts/bench_convert).

The processes import only the modules that their work needs: not Beam, and for most JPEGs not TensorFlow. They are
global state of this module, like the bar of progress.py. In a worker on another machine there are none, since the
runner starts as many workers there as the machine has cores.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from typing import ParamSpec, TypeVar

from multihot import machine
from multihot.errors import UserError
from multihot.images import room
from multihot.quiet import quiet

_P = ParamSpec("_P")
_T = TypeVar("_T")

_executor: ProcessPoolExecutor | None = None
_number = 1


@contextlib.contextmanager
def started(number: int, memory: int | None = None, *, modules: Sequence[str] = ()) -> Iterator[None]:
    """Runs work in `number` processes while the context is open. With fewer than two, work runs in this process.

    Args:
        number: of processes. They are started when there is work for them.
        memory: bytes that the conversion may take; by default, the available memory.
        modules: names of the modules that the work needs, which are imported once for all processes.
    """
    global _executor, _number
    if number < 2:
        yield
        return
    others = set(multiprocessing.active_children())
    # The processes are not forked from this one, which has threads. One process imports the modules, and the others are
    # forked from that one.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    with quiet():
        # Started here, so that it is quiet: when this process is killed, it would warn about semaphores that it clears.
        resource_tracker.ensure_running()
    with _environment(machine.SINGLE_THREADED), _without_interrupts():
        forkserver.ensure_running()  # It imports the modules while this process reads the CSV.
    shared = room.of_processes(machine.available_memory() if memory is None else memory, context)
    _executor, _number = ProcessPoolExecutor(number, context, _start, (os.getcwd(), shared)), number
    try:
        yield
    except BaseException:
        # The results are not needed any more. The files that the processes leave are those of a run that was killed.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        _executor.shutdown()
        _executor, _number = None, 1


def number() -> int:
    """Returns the number of processes that write shards."""
    return _number


def begin(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Callable[[], _T]:
    """Starts a call in one of the processes. Without processes, the returned function makes the call.

    Returns:
        A function that waits for the result and returns it. It raises the exception of the call, or UserError if the
        process has been killed.
    """
    call = functools.partial(function, *args, **kwargs)
    if not _executor:
        return call
    try:
        return functools.partial(_result, _executor.submit(call))
    except BrokenProcessPool as error:  # A process was killed during an earlier call.
        raise _killed() from error


def _result(future: Future[_T]) -> _T:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _killed() from error


def _killed() -> UserError:
    return UserError(
        "A process that wrote shards was killed, most likely because there was no memory left. Finished shards are "
        "kept: the same command continues with the others, and takes less memory with --num_threads=1."
    )


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables that the user has not set, for processes that are started while the context is open."""
    new = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def _start(folder: str, shared: room.Room) -> None:
    """Prepares a new process."""
    room.share(shared)
    os.chdir(folder)  # A new process starts in the folder in which the forkserver was started.
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks SIGINT in processes that are started in this context: a terminal sends Ctrl-C to all processes.

    Only this process handles it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Ends this process when its parent has ended for any reason, so that it writes no more files."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
