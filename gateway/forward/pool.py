"""The connections to one instance, held by one worker: the last one used is taken first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from .connection import Connection

_FRESH = 1.0  # seconds idle beyond which nothing is sent that must not be sent twice


class Pool:
    """limit: connections at once, in use or idle.

    `_idle` is a deque whose ends are taken and added to in one step each, so that taking and giving back need no lock.
    `_changed` guards `_open` and `_waiting`.
    """

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self.limit = limit
        self._now = now
        self._idle: deque[Connection] = deque()  # the last one used on the right
        self._changed = threading.Condition(threading.Lock())
        self._open = 0  # connections there are, and those being made
        self._waiting = 0  # threads in wait()
        self._closed = False

    def take(self, now: float, max_idle: float, repeatable: bool) -> Connection | None:
        """An idle connection that the instance has not ended; None when there is none.

        Each is looked at first: what a backend sends unasked (a 408 for the request that did not come, an answer too
        many) would be taken for the answer to the request that is about to be sent, by another client.
        repeatable: should the connection turn out to be stale, the request may be sent again.
        """
        idle = self._idle
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            unused = now - connection.used_at
            if unused <= max_idle:
                if not repeatable and unused > _FRESH:
                    idle.append(connection)  # those below are older still
                    return None
                if not connection.is_stale():
                    return connection
            self.discard(connection)
        return None

    def put(self, connection: Connection, now: float) -> None:
        """Give back a connection that is ready for the next request."""
        connection.used_at = now
        connection.reused = True
        connection.answered = False
        self._idle.append(connection)
        if self._waiting or self._closed:
            self._attend()

    def discard(self, connection: Connection) -> None:
        """Close a connection and make its place free."""
        connection.close()
        self.cancel()

    def reserve(self) -> bool:
        """Take a place for a new connection, that of an idle one if need be; False when all are in use."""
        with self._changed:
            if self._closed or self._open < self.limit:
                self._open += 1
                return True
        try:
            oldest = self._idle.popleft()
        except IndexError:
            return False
        oldest.close()  # its place is taken over
        return True

    def cancel(self) -> None:
        """Give back a place that was reserved."""
        with self._changed:
            self._open -= 1
            if self._waiting:
                self._changed.notify()

    def wait(self, seconds: float) -> bool:
        """Wait until a place or a connection may be free; False when none was within so many seconds."""
        with self._changed:
            # put() appends first and looks at _waiting then, so one of the two sees the other.
            self._waiting += 1
            try:
                return self._changed.wait_for(self._may_be_free, seconds)
            finally:
                self._waiting -= 1

    def sweep(self, now: float, max_idle: float) -> None:
        """Close what was idle for too long."""
        while self._idle:
            try:
                oldest = self._idle.popleft()
            except IndexError:
                return
            if now - oldest.used_at <= max_idle:
                self._idle.appendleft(oldest)
                return
            self.discard(oldest)

    def close(self) -> None:
        """Close what is idle now; what is in use is closed when it is given back."""
        self._closed = True
        self._attend()

    def _may_be_free(self) -> bool:
        return bool(self._idle) or self._open < self.limit or self._closed

    def _attend(self) -> None:
        while self._closed and self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            self.discard(connection)
        with self._changed:
            self._changed.notify()

    def __repr__(self) -> str:
        return f"Pool({self._open} of {self.limit} connections, {len(self._idle)} idle)"
