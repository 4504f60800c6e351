"""One client's connection: requests are read, answered in order, and the connection is kept or ended.

The thread that epoll woke for a connection reads, parses, calls the application and sends the answer; nothing is handed
over. After any doubt about where a request or an answer ends, the connection is closed.
"""

from __future__ import annotations

import select
import socket
from time import monotonic
from typing import Any, Final

from gateway.errors import ClientTimeout, Refusal
from gateway.server.body import EMPTY, LengthBody
from gateway.server.chunks import ChunkedBody
from gateway.server.client import NOT_YET
from gateway.server.http1 import check_partial, parse_head
from gateway.server.responder import Responder
from gateway.server.service import Service

# What a connection waits for in its group's epoll. One-shot: exactly one thread is woken, and until that thread arms
# the descriptor again nobody else is.
READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
# Queue behind the connections that are ready now: the socket is writable, so epoll reports it at once. This is how a
# connection with a received but unserved request gives its thread away.
AGAIN: Final = READABLE | select.EPOLLOUT
DONE: Final = 0  # the connection is over
ELSEWHERE: Final = -1  # a request has come that the next generation is to answer

_HEAD_READ = 16 * 1024
_NEVER = float("inf")


class Connection(Responder):
    """State of one connection, owned by one thread at a time: whoever took it from its group's `waiting`.

    base: the environ that each request's starts from.
    listener: the index of the listening socket that it came through. stays: it was to move to the next generation,
    which could not take it.
    arm: the events that it waits for. since: when it was armed last. ready_since: when it was seen ready while no
    thread took it; only meaningful when later than `since`.
    deadline: when it is closed unless something comes; head_deadline: when the head that has begun must be whole, 0
    while none has begun. All in monotonic seconds.
    """

    __slots__ = ("arm", "base", "deadline", "head_deadline", "listener", "ready_since", "since", "stays")

    def __init__(self, service: Service, sock: socket.socket, base: dict[str, Any], peer: str, now: float) -> None:
        super().__init__(service, sock, peer)
        self.base = base
        self.listener = 0
        self.stays = False
        self.arm = READABLE
        self.since = now
        self.ready_since = 0.0
        self.deadline = self.head_deadline = now + service.head_timeout

    def serve(self) -> int:
        """Serve what has arrived. The events to wait for, DONE when the connection is over, or ELSEWHERE."""
        service = self.service
        recv = self.sock.recv
        base = self.base
        connections = service.connections
        served = False
        buf = self.buf
        waited_since = self.ready_since if self.ready_since > self.since else 0.0  # for a thread
        while True:
            end = buf.find(b"\r\n\r\n")
            if end < 0:
                try:
                    data = recv(_HEAD_READ)
                except NOT_YET:
                    data = None
                except OSError:
                    data = b""
                if not data:
                    return self._nothing_came(buf, data is not None, served)
                buf += data
                end = buf.find(b"\r\n\r\n")
                if end < 0:
                    return self._wait_for_head(buf)
            if buf[0] == 13:  # one empty line before a request is ignored (RFC 9112, 2.2)
                if buf.startswith(b"\r\n") and not buf.startswith(b"\r\n\r\n"):
                    buf = buf[2:]
                    continue
                end = 0  # an empty head, which is refused
            if service.handover is not None and not self.stays:
                self.buf = buf
                return ELSEWHERE
            head = buf[:end]
            environ = base.copy()
            try:
                persistent, length, expects = parse_head(head, environ, service.limits)
            except Refusal as refusal:
                self.buf = buf
                self.refuse(refusal, head)
                return DONE
            environ["gateway.received"] = waited_since or monotonic()
            waited_since = 0.0
            self.head_deadline = 0.0
            self.buf = buf[end + 4 :]
            body: LengthBody | ChunkedBody | None = None
            if not length:
                environ["wsgi.input"] = EMPTY
            elif length > 0:
                body = environ["wsgi.input"] = LengthBody(self, length, service.max_body, expects)
            else:
                body = environ["wsgi.input"] = ChunkedBody(self, service.limits, service.max_body, expects)
            if not self.respond(environ, head, body, persistent):
                return DONE
            buf = self.buf
            served = True
            if len(connections) > service.parked:
                if not buf:
                    self.deadline = monotonic() + service.keepalive
                    return READABLE
                if b"\r\n\r\n" not in buf:
                    return self._wait_for_head(buf)
                self.deadline = _NEVER
                return AGAIN

    def _nothing_came(self, buf: bytes, ended: bool, served: bool) -> int:
        if ended:  # half a head is nobody's request
            self.close()
            return DONE
        if buf:
            return self._wait_for_head(buf)
        self.buf = buf
        if served:
            self.deadline = monotonic() + self.service.keepalive
        return READABLE

    def _wait_for_head(self, buf: bytes) -> int:
        """Back to epoll with a part of a head. Its deadline counts from its first byte and does not move."""
        now = monotonic()
        if not self.head_deadline:
            self.head_deadline = now + self.service.head_timeout
        self.deadline = self.head_deadline
        if buf[:2] == b"\r\n":
            buf = buf[2:]
        self.buf = buf
        try:
            if buf:
                check_partial(buf, self.service.limits)
            if now >= self.deadline:
                raise self._late()
        except Refusal as refusal:
            self.refuse(refusal, buf)
            return DONE
        return READABLE

    def _late(self) -> ClientTimeout:
        late = ClientTimeout(f"The request head was not complete after {self.service.head_timeout:g} s.")
        if self.head_deadline:
            late.received = self.head_deadline - self.service.head_timeout
        return late

    def moved(self, received: bytes, now: float) -> None:
        """It was open before, in another worker, which received this of its next request."""
        self.buf = received
        if b"\r\n\r\n" in received:
            self.arm, self.deadline, self.head_deadline = AGAIN, _NEVER, 0.0
        elif not received:
            self.deadline, self.head_deadline = now + self.service.keepalive, 0.0

    # --- ends that others decide
    def expire(self) -> None:
        """The deadline is over: 408 when a request had begun, else silence."""
        if self.buf:
            self.refuse(self._late(), self.buf)
        else:
            self.close()

    def turn_away(self, refusal: Refusal) -> None:
        """Refuse the request that waits, read or not; just close when the client has left. Does not wait."""
        refusal.received = self.ready_since
        if not self.buf:
            data = self.receive_now(_HEAD_READ)
            if not data:
                self.close()
                return
            self.buf = data
        self.refuse(refusal, self.buf.partition(b"\r\n\r\n")[0])
