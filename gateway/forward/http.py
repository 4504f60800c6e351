"""The last stage: one attempt at the instance that was chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from gateway.errors import DeadlineExceeded, InternalError, NotSupported
from gateway.exchange import Answer, Body, Exchange

from .adapter import InstanceAdapter
from .answers import Head
from .headers import Composer, edit
from .sessions import Sessions
from .upload import Upload


class Forward:
    """Sends the exchange's request to `exchange.instance` and returns its answer, streamed both ways, and at once where
    the answer begins before the request's end: then the answer's body takes the rest of the request along.

    pseudonym: this gateway's name in Via, see `headers.Composer`. Needs of the exchange what edge, routing and upstream
    have set: instance, service (its `settings`), route, target, timeouts, deadline. Sets upstream_seconds, adds to
    bytes_in, moves the deadline by the time spent in waiting for the client's body, and leaves the body's `upload`, so
    that the same exchange can be forwarded again while that is `replayable`.

    Raises an UpstreamFailure; LoopDetected; or what the client did while it sent its body. Then the connection to the
    instance is closed, so that no half request looks whole there.
    """

    def __init__(self, sessions: Sessions, pseudonym: str, now: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._compose = Composer(pseudonym).compose
        self._now = now

    def __call__(self, exchange: Exchange) -> Answer:
        started = self._now()
        method = exchange.method
        if method == "CONNECT":  # a success would make the connection a tunnel
            raise NotSupported("CONNECT: the gateway opens no tunnels")
        adapter = self._sessions.of(exchange.instance, exchange.service.settings).adapter
        request = self._compose(exchange, adapter.authority, int((exchange.deadline - started) * 1000))
        if exchange.deadline <= started:
            late = DeadlineExceeded("The request's time was used up before this attempt")
            late.sent = False
            late.failure = "none"  # the instance has no part in it
            raise adapter.failure(late)
        deadline = exchange.deadline
        try:
            if exchange.body is None:
                head, body = adapter.exchange(method, request, exchange.timeouts, deadline)
            else:
                head, body = self._with_body(exchange, exchange.body, request, adapter)
        finally:
            # Without the time that the deadline was paused for: that was the client's.
            exchange.upstream_seconds = self._now() - started - (exchange.deadline - deadline)
        headers = head.headers
        edits = exchange.route.response_headers
        if edits is not None:
            headers = edit(headers, edits)
        return Answer(head.status, headers, body, head.phrase)

    def _with_body(
        self, exchange: Exchange, client: Body, request: bytes, adapter: InstanceAdapter
    ) -> tuple[Head, Iterable[bytes]]:
        upload: Upload | None = exchange.upload
        if upload is None:
            exchange.upload = upload = Upload(client, exchange.content_length, self._now)
        elif not upload.rewind():
            raise InternalError("A body that is not kept cannot be forwarded twice")
        upload.waited = 0.0
        received = upload.received
        try:
            content = upload.small()
            exchange.deadline += upload.waited
            upload.waited = 0.0
            if content is not None:
                return adapter.exchange(exchange.method, request + content, exchange.timeouts, exchange.deadline)
            return adapter.exchange(exchange.method, request, exchange.timeouts, exchange.deadline, upload)
        finally:
            exchange.deadline += upload.waited
            exchange.bytes_in += upload.received - received
