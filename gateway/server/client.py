"""The socket of a client: bytes in and out under deadlines, and the ways to end a connection.

Sockets are blocking with short SO_RCVTIMEO and SO_SNDTIMEO (`PARK`), which saves the poll(2) that Python's own
timeouts make before each read. What takes longer than that waits in poll(2) until an absolute deadline.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import math
import select
import socket
import ssl
import struct
import termios
from time import monotonic
from typing import Final, Protocol

from gateway.errors import ClientGone, ClientTimeout

PARK: Final = 0.05  # seconds that a thread waits on its connection before others may have it
NOT_YET: Final = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_PARK_TIMEVAL = struct.pack("ll", 0, int(PARK * 1_000_000))
_LINGER_RESET = struct.pack("ii", 1, 0)
_JOINED = 64 * 1024  # bytes of a body up to which copying it behind its head is cheaper than sendmsg(2)


class Owner(Protocol):
    """What a client's connection tells its plane."""

    def forget(self, fd: int) -> None:
        """The connection is over: called before its file descriptor may be used for another."""

    def linger(self, sock: socket.socket) -> None:
        """Read and drop what still comes, then close."""


def prepare(sock: socket.socket) -> None:
    """Set an accepted plain socket up as `Client` expects it."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PARK_TIMEVAL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PARK_TIMEVAL)


class Client:
    """One client's socket, in the hands of one thread at a time.

    buf: bytes that were received and not yet consumed. idle: seconds without a byte after which the client is let go.
    """

    __slots__ = ("buf", "fd", "idle", "owner", "sock")

    def __init__(self, owner: Owner, sock: socket.socket, idle: float) -> None:
        self.owner = owner
        self.sock = sock
        self.fd = sock.fileno()
        self.idle = idle
        self.buf = b""

    # --- bytes
    def receive(self, size: int) -> bytes:
        """Up to `size` bytes, at least one. ClientTimeout after `idle` seconds without any; ClientGone at the end."""
        try:
            data = self.sock.recv(size)
        except NOT_YET:
            data = self._receive_late(size)
        except OSError as error:
            raise ClientGone(f"The client broke its request off ({error.strerror}).") from None
        if not data:
            raise ClientGone("The client closed the connection before its request was complete.")
        return data

    def _receive_late(self, size: int) -> bytes:
        deadline = monotonic() + self.idle - PARK
        while (left := deadline - monotonic()) > 0:
            if _ready(self.fd, select.POLLIN, left):
                try:
                    return self.sock.recv(size)
                except NOT_YET:  # a part of a TLS record
                    continue
                except OSError as error:
                    raise ClientGone(f"The client broke its request off ({error.strerror}).") from None
        raise self._silent()

    def wait(self, other: int) -> bool:
        """Until something has come, or the end: True. False when the descriptor `other` has something to read before.

        ClientTimeout after `idle` seconds without either.
        """
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        poller.register(other, select.POLLIN)
        ready = poller.poll(self.idle * 1000)
        if not ready:
            raise self._silent()
        return any(fd == self.fd for fd, _ in ready)

    def _silent(self) -> ClientTimeout:
        return ClientTimeout(f"The client sent nothing of its body for {self.idle:g} s.")

    def send(self, data: bytes) -> None:
        """Send all of it. ClientTimeout when the client takes nothing for `idle` seconds; ClientGone when it left."""
        try:
            sent = self.sock.send(data)
        except NOT_YET:
            sent = 0
        except OSError as error:
            raise ClientGone(f"The client closed the connection ({error.strerror}).") from None
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_with_head(self, head: bytes, data: bytes) -> None:
        """Send both, in one packet or system call where possible."""
        if len(data) < _JOINED:
            head, data = head + data, b""
        try:
            sent = self.sock.sendmsg((head, data)) if data else self.sock.send(head)
        except NOT_YET:
            sent = 0
        except OSError as error:
            raise ClientGone(f"The client closed the connection ({error.strerror}).") from None
        if sent < len(head):
            self._send_rest(memoryview(head)[sent:])
            sent = len(head)
        if sent < len(head) + len(data):
            self._send_rest(memoryview(data)[sent - len(head) :])

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            try:
                sent = self._send_some(rest)
            except NOT_YET:
                self._await_room()
                continue
            except OSError as error:
                raise ClientGone(f"The client closed the connection ({error.strerror}).") from None
            rest = rest[sent:]

    def _send_some(self, rest: memoryview) -> int:
        return self.sock.send(rest)

    def _await_room(self) -> None:
        """Wait until the socket takes more. A client that reads, however slowly, empties the kernel's queue."""
        deadline = monotonic() + self.idle - PARK
        queued = _queued(self.fd)
        while not _ready(self.fd, select.POLLOUT, deadline - monotonic()):
            before, queued = queued, _queued(self.fd)
            if queued >= before:
                raise ClientTimeout(f"The client read nothing of the answer for {self.idle:g} s.")
            deadline = monotonic() + self.idle

    def send_now(self, data: bytes) -> None:
        """Send what the socket takes without waiting; the rest, and errors, are dropped: a last word, not an answer."""
        with contextlib.suppress(OSError):
            self.sock.send(data, socket.MSG_DONTWAIT)

    def receive_now(self, size: int) -> bytes | None:
        """What is there, b"" at the end or after an error, None when nothing is there."""
        try:
            return self.sock.recv(size, socket.MSG_DONTWAIT)
        except NOT_YET:
            return None
        except OSError:
            return b""

    def unread(self) -> int:
        """Bytes that have arrived and were not received."""
        count = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.fd, termios.FIONREAD, count)
        return count[0]

    # --- ends
    def close(self) -> None:
        """Close at once: nothing is on its way, or the client left."""
        self.owner.forget(self.fd)
        with contextlib.suppress(OSError):
            self.sock.close()

    def end(self) -> None:
        """Close behind a complete answer; lingering when the client has sent more, so that no RST overtakes it."""
        if self.buf or self.unread():
            self.linger()
        else:
            self.close()

    def linger(self) -> None:
        """Say that nothing more comes, and let the client read the answer while what it sends is dropped."""
        self.owner.forget(self.fd)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.owner.linger(self.sock)

    def abort(self) -> None:
        """Reset the connection, so that what was sent cannot be taken for a whole answer."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.close()


def _ready(fd: int, events: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(fd, events)
    return bool(poller.poll(max(0, math.ceil(seconds * 1000))))


def _queued(fd: int) -> int:
    """Bytes that were sent and that the client's kernel has not acknowledged."""
    count = array.array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCOUTQ, count)
    return count[0]
