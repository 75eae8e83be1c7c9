"""Starts processes that write shards and compare fingerprints, where the job runs in this process.

Threads of one process share an interpreter lock, and give it to each other at every call of the system: on two cores,
two threads converted 1.1 times as many images as one, and two processes 1.6 times (scripts/bench_convert).

They import what that needs, which is neither Beam nor, for most JPEGs, TensorFlow. Like the bar of progress.py they are
state of this module, which in a worker on another machine has none: there it is the runner that starts as many workers
as there are cores.
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

from converter.system import room
from schemas import machine
from schemas.errors import UserError
from schemas.quiet import quiet

_P = ParamSpec("_P")
_T = TypeVar("_T")

_executor: ProcessPoolExecutor | None = None
_number = 1


@contextlib.contextmanager
def started(number: int, memory: int | None = None, *, modules: Sequence[str] = ()) -> Iterator[None]:
    """Lets so many processes work while the context is open; fewer than two are none, and the work is done here.

    Args:
        number: of processes. They are started when there is work for them.
        memory: bytes that the conversion may take; by default as many as are left.
        modules: names of those that the work needs, imported once for all processes.
    """
    global _executor, _number
    if number < 2:
        yield
        return
    others = set(multiprocessing.active_children())
    # Not forked from this one, which has threads. One process imports all, and the others are forked from that.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    with quiet():
        resource_tracker.ensure_running()  # When this process ends at once, it would tell of semaphores that it clears.
    with _environment(machine.SINGLE_THREADED), _without_interrupts():
        forkserver.ensure_running()  # It imports while this process reads the CSV.
    shared = room.of_processes(machine.available_memory() if memory is None else memory, context)
    _executor, _number = ProcessPoolExecutor(number, context, _start, (os.getcwd(), shared)), number
    try:
        yield
    except BaseException:
        # Nobody waits for what was begun. What they leave is what a run leaves that was killed.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        _executor.shutdown()
        _executor, _number = None, 1


def number() -> int:
    """Returns how many processes write shards at a time."""
    return _number


def begin(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Callable[[], _T]:
    """Begins a call in one of the processes; without any, it is made when its result is asked for.

    Returns:
        A function that waits for the result and returns it, or raises what the call has raised, or UserError where the
        process is gone.
    """
    call = functools.partial(function, *args, **kwargs)
    if not _executor:
        return call
    try:
        return functools.partial(_result, _executor.submit(call))
    except BrokenProcessPool as error:  # By an earlier call, whose result was not asked for yet.
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
    os.chdir(folder)  # It begins where the first one of all was started.
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Has processes that are started here never get Ctrl-C, which a terminal sends to all: it is for this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Whatever has ended the process that started this one: nothing writes to its folder any more."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
