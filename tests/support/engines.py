"""Engines under test: one built as the gateway builds it, and several processes that share one.

with engine_of("node", tmp_path) as engine: ...

with Fleet(tmp_path) as fleet:
    first = fleet.start(lambda engine: engine.record(...).apply(...))
    first.result()
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from gateway import plugin
from gateway.clock import Clock, SystemClock
from gateway.config.model import State as Settings
from gateway.state import engines
from gateway.state.engines import Engine
from gateway.state.engines import node as node_engine

T = TypeVar("T")
KINDS = plugin.kinds(engines)
SIZE = 4 * 1024**2


@contextmanager
def engine_of(kind: str, folder: Path, clock: Clock | None = None, size: int = SIZE) -> Iterator[Engine]:
    settings = Settings(engine=kind, path=folder / "state", max_size=size)  # type: ignore[arg-type]
    engine = plugin.load(engines, kind).build(settings, clock=clock or SystemClock())
    try:
        yield engine
    finally:
        engine.close()


class Worker(Generic[T]):
    """A forked process that does one thing and dies."""

    def __init__(self, work: Callable[[], T]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            code = 1
            try:
                with os.fdopen(writer, "wb") as pipe:
                    try:
                        pipe.write(pickle.dumps((True, work())))
                        code = 0
                    except BaseException:
                        pipe.write(pickle.dumps((False, traceback.format_exc())))
            finally:
                os._exit(code)
        os.close(writer)
        self._pipe = os.fdopen(reader, "rb")
        self._status: int | None = None

    def result(self, timeout: float = 60) -> T:
        """What the work returned. AssertionError with the traceback when it raised, TimeoutError when it hangs."""
        if not select.select([self._pipe], [], [], timeout)[0]:
            self.kill()
            raise TimeoutError(f"no result from process {self.pid} within {timeout} seconds")
        sent = self._pipe.read()
        self.wait()
        assert sent, f"process {self.pid} ended without a result: {self._status}"
        fine, value = pickle.loads(sent)
        assert fine, value
        return value  # type: ignore[no-any-return]

    def died_of(self) -> int:
        """Wait for its end; the signal that killed it, 0 when it ended by itself."""
        return os.WTERMSIG(self.wait())

    def kill(self) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        return self._status

    def close(self) -> None:
        self.kill()
        self._pipe.close()


class Fleet:
    """What a master and its workers are to the node engine: a prepared folder, a segment, a slot per worker."""

    def __init__(self, folder: Path, size: int = SIZE, clock: Clock | None = None) -> None:
        self.path, self.size, self.clock = folder / "state", size, clock or SystemClock()
        self.folder = node_engine.prepare(self.path, size)
        self.segment_fd = node_engine.create_segment(size)
        self.workers: list[Worker[Any]] = []
        self._slot = 1

    def engine(self, slot: int) -> node_engine.NodeEngine:
        return node_engine.NodeEngine(self.path, self.size, self.clock, self.segment_fd, slot)

    @contextmanager
    def here(self, slot: int = 0) -> Iterator[node_engine.NodeEngine]:
        """An engine in this process. Not while one is forked: LMDB environments do not cross a fork."""
        engine = self.engine(slot)
        try:
            yield engine
        finally:
            engine.close()

    def start(self, work: Callable[[node_engine.NodeEngine], T], slot: int | None = None) -> Worker[T]:
        if slot is None:
            slot, self._slot = self._slot, self._slot + 1

        def run() -> T:
            # Left open on purpose: a worker's end is what closes it.
            return work(self.engine(slot))

        worker: Worker[T] = Worker(run)
        self.workers.append(worker)
        return worker

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        os.close(self.segment_fd)
        self.folder.close()


class Observer:
    """A worker that lives on and answers one question again and again."""

    def __init__(self, fleet: Fleet, question: Callable[[node_engine.NodeEngine], Any]) -> None:
        asked, ask = os.pipe()
        answer, answered = os.pipe()

        def serve(engine: node_engine.NodeEngine) -> None:
            os.close(ask)
            while os.read(asked, 1):
                sent = pickle.dumps(question(engine))
                os.write(answered, len(sent).to_bytes(4, "big") + sent)

        self._worker = fleet.start(serve)
        os.close(asked)
        os.close(answered)
        self._ask, self._answer = ask, os.fdopen(answer, "rb")

    def __call__(self) -> Any:
        os.write(self._ask, b"?")
        return pickle.loads(self._answer.read(int.from_bytes(self._answer.read(4), "big")))

    def close(self) -> None:
        self._worker.kill()
        os.close(self._ask)
        self._answer.close()


class Fatal:
    """Memory that kills its process at a store: before a word is stored, after half of a range.

    `stores` is shared by all views of one engine: a list of how many stores are left.
    """

    def __init__(self, memory: Any, stores: list[int]) -> None:
        self._memory, self._stores = memory, stores

    def __getitem__(self, at: Any) -> Any:
        return self._memory[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        self._stores[0] -= 1
        if self._stores[0] == 0:
            if isinstance(at, slice):
                half = len(value) // 2
                self._memory[at.start + half : at.stop] = value[half:]
            os.kill(os.getpid(), signal.SIGKILL)
        self._memory[at] = value

    def find(self, *args: Any) -> int:
        return int(self._memory.find(*args))


def die_at_store(engine: node_engine.NodeEngine, number: int) -> None:
    """From here on, the engine's `number`-th store to shared memory is the end of the process."""
    stores = [number]
    for part in (*engine._tables, engine._cells, engine._workers, engine._notices):
        for name in ("_memory", "_words", "_doubles"):
            if hasattr(part, name):
                setattr(part, name, Fatal(getattr(part, name), stores))
