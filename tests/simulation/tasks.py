"""Tasks: functions that stop in the middle, and go on when they are told to.

The stage under test is synchronous; a request waits inside of it for its backend. Each request is therefore a coroutine
(Conway 1963) over a thread: the thread runs only while `resume` waits for it, so exactly one thread of the process runs
at any time, in an order that the caller alone decides. Threads are used again; making one costs more than all the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self


class Task:
    """One call of a function that is given the task. result, error: what came of it once `done`."""

    def __init__(self, function: Callable[[Task], Any], thread: _Thread) -> None:
        self._function = function
        self._thread = thread
        self._value: Any = None
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def park(self) -> Any:
        """Called in the function: wait for `resume`; what it was given."""
        self._thread.back.release()
        self._thread.go.acquire()
        return self._value

    def resume(self, value: Any = None) -> None:
        """Run the function until it parks again or ends."""
        assert not self.done
        self._value = value
        thread = self._thread
        thread.task = self
        thread.go.release()
        thread.back.acquire()
        if self.done:
            thread.idle.append(thread)

    def run(self) -> None:
        """In the thread."""
        try:
            self.result = self._function(self)
        except BaseException as error:
            self.error = error
        self.done = True


class _Thread(threading.Thread):
    def __init__(self, idle: list[_Thread]) -> None:
        super().__init__(daemon=True, name="simulation-task")
        self.idle = idle
        self.task: Task | None = None  # None when it is told to go on: end
        self.go = threading.Lock()
        self.back = threading.Lock()
        self.go.acquire()
        self.back.acquire()

    def run(self) -> None:
        while True:
            self.go.acquire()
            if self.task is None:
                return
            self.task.run()
            self.task = None
            self.back.release()


class Tasks:
    """Where tasks get their threads; `with` ends those."""

    def __init__(self) -> None:
        self._idle: list[_Thread] = []  # no lock: only one thread runs at any time
        self._all: list[_Thread] = []

    def task(self, function: Callable[[Task], Any]) -> Task:
        """It begins with the first `resume`."""
        if not self._idle:
            thread = _Thread(self._idle)
            thread.start()
            self._all.append(thread)
            self._idle.append(thread)
        return Task(function, self._idle.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._idle:  # one that is still parked belongs to a failed test, and is a daemon
            thread.go.release()
        for thread in self._idle:
            thread.join(10)
