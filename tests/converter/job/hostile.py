"""An engine for tests, which does to a job all that Beam's model allows: to elements, bundles and attempts.

For each step, by a seed:

- elements come in another order, those of a group too, and in bundles of any size, several of which run at once;
- elements pass through their coder between any two steps, or between some;
- a bundle is run several times: before the attempt that counts, beside it and after it, with other bundles' elements in
  it, or with a part of its own;
- an attempt dies at any file that it touches, and is repeated, as many times as it takes;
- an attempt stops at any file that it touches, and goes on when the conversion has ended. If that takes too long, it
  goes on earlier, since others may wait for it.

An attempt dies or stops in this process, where its thread is told apart by a hook that Python calls for each file.
"""

import functools
import queue
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

from apache_beam.runners.portability.fn_api_runner import execution, fn_runner, translations

# As Dataflow does.
_RETRIES = 3
_AT_ONCE, _LATE = 3, 8

_this_thread = threading.local()
Part = Mapping[str, list[bytes]]


class DiedError(BaseException):
    """A worker has died. No code that handles errors takes it for one."""


class _Fate:
    """The fate of an attempt when it touches its n-th file in a folder; at 0, before it begins."""

    def __init__(self, moment: int, folder: str, happens: Callable[[], None]) -> None:
        self._left, self._folder, self._happens = moment, folder, happens

    def begin(self) -> None:
        if not self._left:
            self._happens()

    def touch(self, event: str, args: object) -> None:
        if event != "open" and not event.startswith(("os.", "shutil.", "ctypes.dlsym")):
            return
        said = str(args)
        if self._folder in said or "renameat2" in said:
            self._left -= 1
            if not self._left:
                self._happens()


def _hook(event: str, args: object) -> None:
    fate = getattr(_this_thread, "fate", None)
    if fate is not None:
        fate.touch(event, args)


_hooked: list[bool] = []


class Engine(fn_runner.FnApiRunner):
    """The engine. Each job needs one of its own."""

    def __init__(self, seed: int, folder: str, patience_seconds: float = 2.0) -> None:
        """Stores the arguments.

        Args:
            seed: of all that happens.
            folder: in which attempts die and stop when they touch a file.
            patience_seconds: for which an attempt that has stopped waits for the end of the conversion.
        """
        super().__init__()
        if not _hooked:  # A hook can never be removed.
            sys.addaudithook(_hook)
            _hooked.append(True)
        self.random = random.Random(seed)
        self.folder = folder
        self._patience = patience_seconds
        self.errors: list[BaseException] = []
        self.counts = dict.fromkeys(("bundles", "extra", "died", "late"), 0)
        self.ended = threading.Event()
        self.free: queue.PriorityQueue[int] = queue.PriorityQueue()
        self.late: list[threading.Thread] = []
        self._fused = self.random.choice([0.0, 0.5, 1.0])

    def create_stages(self, proto: Any) -> Any:
        can_fuse = translations.Stage.can_fuse

        def at_random(stage: Any, consumer: Any, context: Any) -> bool:
            return bool(can_fuse(stage, consumer, context)) and self.random.random() < self._fused

        with mock.patch.object(translations.Stage, "can_fuse", at_random):
            return super().create_stages(proto)

    def run_stages(self, *args: Any) -> Any:
        self._num_workers = _AT_ONCE + _LATE
        for index in range(self._num_workers):
            self.free.put(index)
        return super().run_stages(*args)

    def _get_bundle_manager(self, context: Any) -> "_Bundles":
        return _Bundles(self, context)

    def begin_late(self, attempt: Callable[[], None]) -> None:
        """Runs an attempt in a thread of its own, unless there are enough of them."""
        self.late = [thread for thread in self.late if thread.is_alive()]
        if len(self.late) < _LATE:
            self.late.append(threading.Thread(target=attempt, daemon=True))
            self.late[-1].start()

    def wake(self) -> None:
        """Lets all attempts that have stopped go on, and waits for their end."""
        self.ended.set()
        for thread in self.late:
            thread.join()

    def fate(self, kind: str) -> _Fate | None:
        """Returns that of an attempt of a kind: `late` ones stop, `dies` ones die, others may stop for a moment."""
        moment = self.random.choice(
            [0, 1, 2, self.random.randrange(12), self.random.randrange(25), self.random.randrange(150)]
        )
        if kind == "dies":
            return _Fate(max(1, moment), self.folder, self._die)
        if kind == "late":
            return _Fate(moment, self.folder, lambda: self._wait(self._patience))
        return _Fate(moment, self.folder, lambda: self._wait(0.02)) if self.random.random() < 0.3 else None

    def _die(self) -> None:
        self.counts["died"] += 1
        raise DiedError

    def _wait(self, seconds: float) -> None:
        self.ended.wait(seconds)


class _OneWorker:
    """The context of a step, with one worker."""

    def __init__(self, context: Any, index: int) -> None:
        self._context = context
        self.worker_handlers = [context.worker_handlers[index]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class _Bundles:
    """Runs a step."""

    def __init__(self, engine: Engine, context: Any) -> None:
        self._engine, self._context, self._random = engine, context, engine.random

    def process_bundle(
        self, inputs: Mapping[str, Any], outputs: Any, timers: Any, output_timers: Any, dry_run: bool = False
    ) -> Any:
        assert not output_timers
        _ = self._context.process_bundle_descriptor  # Made once, before threads need it.
        elements = [(name, one) for name, buffer in inputs.items() for one in self._decoded(name, buffer)]
        self._random.shuffle(elements)
        tasks = [self._counting(self._encoded(inputs, some), outputs) for some in self._cut(elements)]
        self._engine.counts["bundles"] += len(tasks)
        for kind in self._extras():
            some = self._random.sample(elements, self._random.randint(min(1, len(elements)), len(elements)))
            extra = functools.partial(self._extra, self._encoded(inputs, some), outputs, self._engine.fate(kind))
            self._engine.counts["late" if kind == "late" else "extra"] += 1
            if kind == "late":
                self._engine.begin_late(extra)
            else:
                tasks.append(extra)
        self._random.shuffle(tasks)
        with ThreadPoolExecutor(self._random.choice([1, _AT_ONCE])) as executor:
            results = list(executor.map(lambda task: task(), tasks))
        return next(result for result in results if result)

    def _extras(self) -> list[str]:
        """Returns the kinds of attempts beside those that count: more of them in steps that write files."""
        if any(step in self._context.stage.name for step in ("WriteShards", "Commit", "WriteRows")):
            return self._random.choices(["late", "dies", "twice"], k=self._random.randint(2, 8))
        return ["twice"] * self._random.randint(0, 1)

    def _counting(self, part: Part, outputs: Any) -> Callable[[], Any]:
        """Returns a bundle that is run until it succeeds. It may die some times before."""
        deaths = [self._engine.fate("dies") for _ in range(self._random.choice([0, 0, 0, 1, 2]))]
        fate = self._engine.fate("counts")

        def run() -> Any:
            for death in deaths:
                self._extra(part, outputs, death)
            for retry in range(_RETRIES + 1):
                try:
                    return self._attempt(part, outputs, fate, dry=False)
                except Exception as error:
                    self._engine.errors.append(error)
                    if retry == _RETRIES:
                        raise
            raise AssertionError

        return run

    def _decoded(self, name: str, buffer: Any) -> Iterator[Any]:
        coder = self._context.get_input_coder_impl(name)
        for one in coder.decode_all(b"".join(buffer)):
            if isinstance(buffer, execution.GroupingBuffer):
                key, values = one.value
                values = list(values)
                self._random.shuffle(values)
                yield one.with_value((key, values))
            else:
                yield one

    def _cut(self, elements: list[Any]) -> list[list[Any]]:
        at = sorted(self._random.randint(0, len(elements)) for _ in range(self._random.randint(0, 3)))
        return [elements[start:end] for start, end in zip([0, *at], [*at, len(elements)], strict=True)]

    def _encoded(self, names: Iterable[str], elements: list[tuple[str, Any]]) -> Part:
        return {
            name: [self._context.get_input_coder_impl(name).encode_all([one for at, one in elements if at == name])]
            for name in names
        }

    def _extra(self, part: Part, outputs: Any, fate: _Fate | None) -> None:
        """Runs a bundle whose output does not count, and which may fail."""
        try:
            self._attempt(part, outputs, fate, dry=True)
        except DiedError:
            pass
        except Exception as error:
            self._engine.errors.append(error)

    def _attempt(self, part: Part, outputs: Any, fate: _Fate | None, *, dry: bool) -> Any:
        index = self._engine.free.get()
        _this_thread.fate = fate
        try:
            if fate:
                fate.begin()
            manager = fn_runner.BundleManager(_OneWorker(self._context, index))
            return manager.process_bundle(part, outputs, {}, {}, dry)
        finally:
            _this_thread.fate = None
            self._engine.free.put(index)
