"""Lingering closes: the last answer reaches a client that is still sending.

A socket that is closed while data is unread, or that gets data after its close, answers with RST, and an RST makes the
client's kernel throw away an answer that was not read yet (RFC 9112, 9.6). So the connection is half-closed first, and
what the client still sends is read and dropped until it closes too, goes silent or its time is over. One thread does
that for all of them; it sleeps while there are none.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

SILENCE: Final = 2.0  # seconds without a byte
TOTAL: Final = 5.0  # seconds in all
ROOM: Final = 1024  # sockets; beyond, they are closed at once


class _Lingering:
    __slots__ = ("last", "silent", "sock")

    def __init__(self, sock: socket.socket, silent: float, last: float) -> None:
        self.sock = sock
        self.silent = silent
        self.last = last


class Lingerer:
    """Threads hand sockets over with `take`; from then on only the lingerer's own thread touches them.

    `_sockets` needs no lock: each key is added by the thread that owns the descriptor and removed by the lingerer's.
    """

    def __init__(
        self,
        *,
        silence: float = SILENCE,
        total: float = TOTAL,
        room: int = ROOM,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._silence = silence
        self._total = total
        self._room = room
        self._clock = clock
        self._sockets: dict[int, _Lingering] = {}
        self._scratch = bytearray(64 * 1024)
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="linger", daemon=True)

    def __len__(self) -> int:
        return len(self._sockets)

    def start(self) -> None:
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread.start()

    def take(self, sock: socket.socket) -> None:
        """Linger on a half-closed socket (a TLS socket only for its TCP connection)."""
        if len(self._sockets) >= self._room:
            with contextlib.suppress(OSError):
                sock.close()
            return
        try:
            raw = socket.socket(fileno=sock.detach())
        except OSError:
            return
        raw.setblocking(False)
        now = self._clock()
        self._sockets[raw.fileno()] = _Lingering(raw, now + self._silence, now + self._total)
        with contextlib.suppress(OSError):
            self._epoll.register(raw.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """End the thread and close what is left."""
        self._stopped = True
        if self._thread.is_alive():
            os.eventfd_write(self._wake, 1)
            self._thread.join(1.0)
        for entry in list(self._sockets.values()):
            entry.sock.close()
        self._sockets.clear()
        self._epoll.close()
        os.close(self._wake)

    def _run(self) -> None:
        while not self._stopped:
            for fd, _ in self._epoll.poll(self._wait(), 64):
                if fd == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(fd)
                elif (entry := self._sockets.get(fd)) is not None:
                    self._drop(fd, entry)
            now = self._clock()
            for fd, entry in list(self._sockets.items()):
                if now >= min(entry.silent, entry.last):
                    self._close(fd, entry)

    def _wait(self) -> float:
        """Seconds until the next one's time is over; for ever when there are none."""
        if not self._sockets:
            return -1.0
        nearest = min(min(entry.silent, entry.last) for entry in list(self._sockets.values()))
        return max(0.01, nearest - self._clock())

    def _drop(self, fd: int, entry: _Lingering) -> None:
        try:
            received = entry.sock.recv_into(self._scratch)
        except BlockingIOError:
            return
        except OSError:
            received = 0
        if received:
            entry.silent = self._clock() + self._silence
        else:
            self._close(fd, entry)

    def _close(self, fd: int, entry: _Lingering) -> None:
        self._sockets.pop(fd, None)
        entry.sock.close()
