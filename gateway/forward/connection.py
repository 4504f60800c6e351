"""One connection to an instance: bytes in and out, each step under an absolute limit.

A plain socket stays blocking with SO_RCVTIMEO, which costs nothing a call (settimeout would add a poll to each). That
timeout bounds one recv, not the whole, so it is set anew whenever less than it is left. Sends never block: what the
kernel does not take at once waits in a poll that also sees an answer that comes early.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import ClassVar

from gateway.errors import AnswerTooLarge, BadAnswer

from . import answers

RECEIVE = 64 * 1024  # bytes that one recv may return
_SLACK = 0.05  # seconds by which a recv may outlast its limit, so that the timeout is not set anew for each request
_LEAST = 0.001  # seconds; a socket timeout of 0 would mean none
_BEGINNING = b"HTTP/1."
_INTERIM = 16  # interim answers (1xx) that one request may get
_NEVER = float("inf")
_AT_ONCE = int(socket.MSG_DONTWAIT)  # as a plain number: an enum's member costs a look-up each time


class Closed(ConnectionError):
    """The backend ended the connection where something was still to come."""


class Connection:
    """buffer: received and not consumed. reused: it served a request before. answered: a byte of this answer came.
    broken: a send failed, and with it went the news whether the backend ended in order: its end ends no body.

    Owned by one thread at a time: the pool hands it over. What waits takes `limit`, an absolute monotonic time, and
    raises TimeoutError when that is over; a broken connection raises another OSError.
    """

    __slots__ = ("_arrivals", "_now", "_timeout", "answered", "broken", "buffer", "reused", "sock", "used_at")
    _would_block: ClassVar[tuple[type[OSError], ...]] = (BlockingIOError,)

    def __init__(self, sock: socket.socket, now: Callable[[], float] = time.monotonic) -> None:
        self.sock = sock
        self.buffer = b""
        self.reused = False
        self.answered = False
        self.broken = False
        self.used_at = 0.0
        self._now = now
        self._timeout = _NEVER  # that the socket has; _NEVER also stands for "set it before you wait"
        sock.settimeout(None)
        self._arrivals = select.poll()
        self._arrivals.register(sock, select.POLLIN)

    # --- receiving
    def receive(self, limit: float) -> bytes:
        """What is there, at least a byte; b"" when the backend ended the connection."""
        while True:
            left = limit - self._now()
            if self._timeout > left + _SLACK:
                if left <= 0:
                    raise TimeoutError
                self._set_timeout(max(left, _LEAST))
            try:
                data = self.sock.recv(RECEIVE)
            except self._would_block:
                if self._now() >= limit:
                    raise TimeoutError from None
                self._timeout = _NEVER  # it was shorter than what is left
                continue
            if data:
                self.answered = True
            return data

    def head(self, limit: float) -> answers.Head:
        """The head of the final answer; interim ones are skipped. What came behind it is in `buffer`.

        Closed when the connection ends first; BadAnswer or AnswerTooLarge when this is no answer to wait for.
        """
        head = self._any_head(limit)
        interim = 0
        while head.status < 200:
            if head.status == 101:
                raise BadAnswer("The backend switches protocols, which nobody asked it for")
            interim += 1
            if interim > _INTERIM:
                raise BadAnswer(f"The backend sent over {_INTERIM} interim answers")
            head = self._any_head(limit)
        return head

    def _any_head(self, limit: float) -> answers.Head:
        buffer = self.buffer or self.receive(limit)
        end = buffer.find(b"\r\n\r\n")
        while end < 0 and len(buffer) <= answers.MAX_HEAD:
            if not buffer.startswith(_BEGINNING[: len(buffer)]):
                raise BadAnswer("The backend's answer does not begin with an HTTP/1 status line")
            data = self.receive(limit) if buffer else b""
            if not data:
                raise Closed
            searched = max(0, len(buffer) - 3)
            buffer += data
            end = buffer.find(b"\r\n\r\n", searched)
        if not 0 <= end <= answers.MAX_HEAD:
            raise AnswerTooLarge(f"The head of the backend's answer is over {answers.MAX_HEAD} bytes")
        self.buffer = buffer[end + 4 :]
        return answers.parse(buffer[:end])

    def more(self, seconds: float) -> bytes | None:
        """What comes within so many seconds; b"" at the end of the connection; None when nothing comes."""
        return self.try_receive() if self._arrivals.poll(seconds * 1000) else None

    def is_stale(self) -> bool:
        """Whether the backend ended this idle connection, or sent something that nobody asked for."""
        return bool(self._arrivals.poll(0))

    # --- sending
    def send(self, data: bytes, limit: float) -> bytes | memoryview:
        """All of `data`, under one limit; what is left of it when a final answer begins to come before it is sent."""
        try:
            sent = self.try_send(data)
            return b"" if sent == len(data) else self._send_rest(memoryview(data)[sent:], limit)
        except ConnectionError:
            self.broken = True
            if self.answer_begins():  # it answered, then closed without reading on
                return data
            raise

    def _send_rest(self, rest: memoryview, limit: float) -> memoryview:
        while rest:
            if self.wait(limit) and self.answer_begins():
                break
            rest = rest[self.try_send(rest) :]
        return rest

    def wait(self, limit: float) -> bool:
        """Until there is room to send or something to receive: whether it is the latter."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLOUT)
        left = limit - self._now()
        events = poll.poll(left * 1000) if left > 0 else []
        if not events:
            raise TimeoutError
        return bool(events[0][1] & ~select.POLLOUT)

    def answer_begins(self) -> bool:
        """Whether a final answer, or the beginning of one, is there; takes what was received into `buffer`."""
        data = self.try_receive()
        if data == b"":
            raise Closed
        if data:
            self.buffer += data
        return _is_final(self.buffer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()

    # --- what differs under TLS
    def _set_timeout(self, seconds: float) -> None:
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._timeout = seconds

    def try_receive(self) -> bytes | None:
        """What is there without waiting; None when nothing is."""
        try:
            data = self.sock.recv(RECEIVE, _AT_ONCE)
        except BlockingIOError:
            return None
        if data:
            self.answered = True
        return data

    def try_send(self, data: bytes | memoryview) -> int:
        """How much the kernel took without waiting."""
        try:
            return self.sock.send(data, _AT_ONCE)
        except BlockingIOError:
            return 0


class TlsConnection(Connection):
    """The same over TLS, whose sockets take no flags: they are switched between a timeout and not waiting at all."""

    __slots__ = ()
    _would_block = (TimeoutError, ssl.SSLWantReadError)

    def more(self, seconds: float) -> bytes | None:
        data = self.try_receive()  # a record may be decrypted already, which no poll tells
        return super().more(seconds) if data is None else data

    def is_stale(self) -> bool:
        # What is readable may be TLS's own, such as a session ticket.
        try:
            return self.try_receive() is not None
        except OSError:
            return True

    def _set_timeout(self, seconds: float) -> None:
        self.sock.settimeout(seconds)
        self._timeout = seconds

    def try_receive(self) -> bytes | None:
        self._set_timeout(0)
        try:
            data = self.sock.recv(RECEIVE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if data:
            self.answered = True
        return data

    def try_send(self, data: bytes | memoryview) -> int:
        self._set_timeout(0)
        try:
            return self.sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0


def _is_final(buffer: bytes) -> bool:
    """Whether what stands in `buffer` begins with a final answer; whole or partial interim answers are none."""
    while buffer.startswith(b"HTTP/1.1 1"):
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return len(buffer) > answers.MAX_HEAD
        buffer = buffer[end + 4 :]
    return len(buffer) >= len(b"HTTP/1.1 1")
