"""A few threads for work that may hang: one that does delays the rest only when as many hang as there are threads.

Not a ThreadPoolExecutor: that one is waited for at the process's end, and with it for what hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

import structlog

Work = Callable[[], object]


class Crew:
    """Up to `limit` threads, each started when there is work and none of the others is free. `stop` ends them."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = Lock()  # guards what follows
        self._threads = 0
        self._open = 0  # pieces of work that are waiting or being done

    def submit(self, work: Work) -> None:
        """Have it done. An exception is logged."""
        with self._lock:
            self._open += 1
            hire = self._threads < min(self._open, self._limit)
            if hire:
                self._threads += 1
                number = self._threads
        self._queue.put(work)
        if hire:
            try:
                Thread(target=self._run, name=f"{self._name}-{number}", daemon=True).start()
            except RuntimeError:  # the system has no thread left: the work waits for one that there is
                with self._lock:
                    self._threads -= 1
                    alone = not self._threads
                if alone:
                    raise

    def stop(self) -> None:
        """Let the threads end when they have done what is theirs; nobody waits for it."""
        for _ in range(self._limit):
            self._queue.put(None)

    def _run(self) -> None:
        log = structlog.get_logger("gateway.watch")
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:
                log.exception("work_failed", crew=self._name)
            finally:
                with self._lock:
                    self._open -= 1
