"""What the connections of one plane have in common."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.errors import InternalError, Refusal
from gateway.exchange import Answer, Plane
from gateway.server.http1 import HeadLimits

if TYPE_CHECKING:
    from gateway.server.connection import Connection
    from gateway.server.handover import Handover
    from gateway.server.linger import Lingerer
    from gateway.server.plan import WorkerPlan

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Service:
    """Settings of a plane, and its open connections. Read by all its threads.

    connections: every open connection by its descriptor. One entry is added by the accept loop and removed by the
    thread that closes the descriptor, just before; single dict operations, so there is no lock.
    parked: a thread stays on its connection while there are at most that many. Counting the connections keeps two
    threads for all the others whatever the parked ones do; counting free threads instead starves some for 0.4 s.
    closing: how many of the next answers say `Connection: close`: infinitely many when the worker leaves or keeps no
    connections (keepalive 0), some when it has more of them than its share, else 0. Threads count it down without a
    lock; one more or less does not matter.
    handover: where connections go while the worker makes way for the next generation, else None.
    ended: the worker ends under the threads that are still at work: what fails in them from now on is no news.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        plane: Plane,
        *,
        application: Application,
        log: Any,
        lingerer: Lingerer,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.plane: Plane = plane
        self.threads = plan.threads if plane == "external" else plan.internal_threads
        self.parked = self.threads - 2
        self.limits: HeadLimits = plan.head_limits
        self.keepalive = plan.keepalive
        self.head_timeout = plan.request_head_timeout
        self.idle = plan.client_idle
        self.backlog_wait = plan.backlog_wait
        self.max_body = plan.max_request_body
        self.context = plan.tls.get(plane)
        self.application = application
        self.log = log
        self.closing = 0.0 if plan.keepalive else float("inf")
        self.handover: Handover | None = None
        self.ended = False
        self.connections: dict[int, Connection] = {}
        self.epoll = select.epoll()
        self._refused: Callable[[Refusal, Plane, str, bytes], Answer] | None = getattr(application, "refused", None)
        self._lingerer = lingerer
        self._changed = changed

    def forget(self, fd: int) -> None:
        """A connection is over; its descriptor is closed or handed over next."""
        self.connections.pop(fd, None)
        self._changed()

    def linger(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.epoll.unregister(sock.fileno())
        self._lingerer.take(sock)

    def refused(self, refusal: Refusal, peer: str, head: bytes) -> Answer:
        """The application's words for what the server refuses, ours when it has none or fails."""
        if self._refused is not None:
            try:
                return self._refused(refusal, self.plane, peer, head)
            except Exception:
                self.log.exception("The application failed to render %s", refusal.reason)
                refusal = InternalError()
        return plain(refusal)


def plain(refusal: Refusal) -> Answer:
    """A refusal as problem+json (RFC 9457) when there is no application to render and log it."""
    problem = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "reason": refusal.reason,
        "origin": "gateway",
    }
    body = json.dumps(problem).encode()
    return Answer(refusal.status, [("Content-Type", "application/problem+json")], [body], refusal=refusal)


def status_line(answer: Answer) -> str:
    """ "503 Service Unavailable" """
    phrase = answer.phrase
    if phrase is None:
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = "Client Closed Request" if answer.status == 499 else "Unknown"
    return f"{answer.status} {phrase}"
