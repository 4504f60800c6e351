"""Something that is done again and again beside the requests, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import structlog


class Periodic:
    """Calls `task` every `interval` seconds, from `start` to `stop`; the first time after one interval.

    An exception is logged under `name`, and the next round may do better.
    """

    def __init__(self, name: str, interval: float, task: Callable[[], object]) -> None:
        self._name = name
        self._interval = interval
        self._task = task
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        self._thread = Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        log = structlog.get_logger("gateway.watch")
        while not self._stopping.wait(self._interval):
            try:
                self._task()
            except Exception:
                log.exception("periodic_failed", task=self._name)
