"""A group of threads that serve one plane: idle ones wait directly in one shared epoll, one-shot.

The thread that the kernel wakes for a connection serves it and arms it again; there is no queue and no hand-over.
Who may touch a connection is decided by one operation: whoever pops it from `waiting` owns it, until it is put back and
armed. So a thread, the sweep and the overload check never hold the same connection, and an event that comes late, for a
descriptor that meanwhile belongs to another connection, finds either nothing or a connection that is served early.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from time import monotonic, sleep
from typing import Final

from gateway.errors import Overloaded
from gateway.server.connection import DONE, ELSEWHERE, Connection
from gateway.server.handover import Moved
from gateway.server.service import Service

RETRY_AFTER: Final = 1.0  # seconds, told to those who found no thread

# Under saturation a thread always finds its next connection ready, so it never sleeps; on one CPU it then takes the
# interpreter lock back before those who wait for it, each with a connection in hand, get to run: 0.2 to 0.4 s for some
# of them. A thread that really sleeps every few connections lets them go first, and costs no throughput.
_TURNS = 16
_REST = 20e-6


class ThreadGroup:
    """The threads of one plane.

    waiting: connections that no thread holds, by descriptor. Single dict operations only, so there is no lock.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.waiting: dict[int, Connection] = {}
        self._epoll = service.epoll
        self._end = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = [
            threading.Thread(target=self._run, name=f"{service.plane}-{number}", daemon=True)
            for number in range(service.threads)
        ]

    def start(self) -> None:
        self._epoll.register(self._end, select.EPOLLIN)
        for thread in self._threads:
            thread.start()

    def stop(self, patience: float = 1.0) -> None:
        """End the threads that are idle, waiting up to `patience` seconds for the others."""
        os.eventfd_write(self._end, 1)
        deadline = monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def abort(self) -> None:
        """Behind `stop`: reset the connections that are still open."""
        self.service.ended = True
        for connection in list(self.service.connections.values()):
            connection.abort()
        if not any(thread.is_alive() for thread in self._threads):
            self._epoll.close()
            os.close(self._end)

    def add(self, connection: Connection) -> None:
        """A new connection: wait for its first bytes."""
        fd = connection.fd
        self.service.connections[fd] = connection
        self.waiting[fd] = connection
        try:
            self._epoll.register(fd, connection.arm)
        except OSError:
            if self._claim(connection):
                connection.close()

    # --- the serving threads
    def _run(self) -> None:
        poll = self._epoll.poll
        take = self.waiting.pop
        turns = 0
        while True:
            for fd, _ in poll(-1, 1):
                connection = take(fd, None)
                if connection is not None:
                    self._serve(connection)
                    turns += 1
                elif fd == self._end:
                    return
            if turns >= _TURNS:
                turns = 0
                sleep(_REST)

    def _serve(self, connection: Connection) -> None:
        try:
            events = connection.serve()
            if events == ELSEWHERE:
                if self._give(connection):
                    return
                connection.stays = True
                events = connection.serve()
        except BaseException as error:  # whatever it is, it costs this connection and not the thread
            self._drop(connection, error)
            return
        if events != DONE:
            self._put_back(connection, events)

    def _put_back(self, connection: Connection, events: int) -> None:
        fd = connection.fd
        connection.arm = events
        connection.since = monotonic()
        self.waiting[fd] = connection
        self._arm(fd, connection)

    def _arm(self, fd: int, connection: Connection) -> None:
        try:
            self._epoll.modify(fd, connection.arm)
        except OSError:  # it was closed as soon as it was put back
            if self.waiting.get(fd) is connection and self._claim(connection):
                connection.abort()

    # --- the main thread
    def sweep(self, now: float, idle_until: float = float("inf")) -> None:
        """Let go of the connections whose deadline is over; of idle ones also when `idle_until` is.

        One with unread bytes is a thread's business: a request may be on its way that only waits for a thread.
        """
        for connection in list(self.waiting.values()):
            deadline = connection.deadline
            if not connection.buf and deadline > idle_until:
                deadline = idle_until
            if now >= deadline and not connection.unread() and self._claim(connection):
                try:
                    connection.expire()
                except Exception as error:
                    self._drop(connection, error)

    def hand_over(self) -> None:
        """Give the connections away that no thread holds, while there is somebody to give them to."""
        if self.service.handover is None:
            return
        for connection in list(self.waiting.values()):
            if self._claim(connection) and not self._give(connection):
                self._put_back(connection, connection.arm)

    def _give(self, connection: Connection) -> bool:
        """Give a connection away that the caller holds, with what was received on it; False: it stays here."""
        handover = self.service.handover
        if handover is None or not handover.give(Moved(connection.sock, connection.listener, connection.buf)):
            return False
        with contextlib.suppress(OSError):
            self._epoll.unregister(connection.fd)  # closing it is not enough: the new owner keeps the socket open
        connection.close()
        return True

    def refuse_overdue(self, now: float) -> None:
        """503 for the requests that found no thread for `backlog_wait`, oldest first.

        A connection that is ready while every thread is busy stays in epoll's queue. This looks at the queue without
        serving it: what is found is marked with the time and put back in the same order. With a thread free the queue
        is empty, or is put back within microseconds.
        """
        overdue = []
        for fd, _ in self._epoll.poll(0, len(self.waiting) + 1):
            connection = self.waiting.get(fd)
            if connection is None:  # a thread has it, and arms it again when it is done
                continue
            if connection.ready_since < connection.since:
                connection.ready_since = now
            elif now - connection.ready_since >= self.service.backlog_wait and self._claim(connection):
                overdue.append(connection)
                continue
            self._arm(fd, connection)
        for connection in overdue:
            detail = f"No thread was free for {self.service.backlog_wait:g} s."
            try:
                connection.turn_away(Overloaded(detail, retry_after=RETRY_AFTER))
            except Exception as error:
                self._drop(connection, error)

    def _claim(self, connection: Connection) -> bool:
        """Take a connection out of `waiting`, unless a thread was quicker."""
        fd = connection.fd
        found = self.waiting.pop(fd, None)
        if found is not None and found is not connection:  # the descriptor changed hands: not ours
            self.waiting[fd] = found
            self._arm(fd, found)
        return found is connection

    def _drop(self, connection: Connection, error: BaseException) -> None:
        if not self.service.ended:
            self.service.log.error("Error on a connection", exc_info=error)
        connection.abort()
