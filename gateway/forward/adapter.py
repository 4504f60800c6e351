"""What is mounted in an instance's session: it owns the pool, and exchanges one request for one answer over it.

The hot path calls `exchange` with bytes that are ready. `send` does the same for whoever uses the session in the way
that requests documents, such as a health probe.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests
from requests.adapters import BaseAdapter

from gateway.config import model
from gateway.errors import (
    ConnectTimeout,
    DeadlineExceeded,
    PoolExhausted,
    UpstreamFailure,
    UpstreamReset,
    UpstreamTimeout,
)

from . import responses
from .answers import Head
from .bodies import AnswerBody, ChunkDecoder, small
from .connection import Connection
from .dial import Dialer
from .pool import Pool
from .sending import NOTHING, Sending
from .upload import Upload

# RFC 9110, 9.2.2, and others registered as idempotent. A method that is not known is taken for one that is not.
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"))
_BODILESS = frozenset((204, 304))


class InstanceAdapter(BaseAdapter):
    """Requests to one instance over pooled connections. Any number of threads may use it at once.

    authority: what Host says for the instance itself.
    """

    def __init__(self, dial: Dialer, settings: model.Service, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.authority = dial.authority
        self.pool = Pool(settings.pool.max_connections, now)
        self._dial = dial
        self._timeouts = settings.timeouts
        self._now = now

    def exchange(
        self,
        method: str,
        request: bytes,
        timeouts: model.Timeouts,
        deadline: float,
        upload: Upload | None = None,
    ) -> tuple[Head, Iterable[bytes]]:
        """Send a request, return the answer's head and body: a list of one bytes object, or an AnswerBody.

        request: the head, and the body where it is not an `upload`. deadline: monotonic, for the answer's head; the
        time that `upload` waits for the client comes on top.

        A pooled connection that the instance had ended is replaced, if the request may be sent twice: its method is
        idempotent, no byte of an answer came, and the body can be read again. Raises an UpstreamFailure, or what the
        client did while it sent its body; the connection is closed then, so that nothing half sent looks whole. Where
        an answer begins before the body is sent and lets it go on, the AnswerBody sends the rest, and raises the same.
        """
        repeatable = method in IDEMPOTENT
        connection = self.pool.take(self._now(), timeouts.idle, repeatable)
        while True:
            if connection is None:
                connection = self._fresh(timeouts, deadline, repeatable)
            try:
                head, sending = self._head(connection, request, timeouts, deadline, upload)
                return head, self._body(connection, method, head, timeouts.upstream, sending)
            except BaseException as error:
                self.pool.discard(connection)
                stale = connection.reused and not connection.answered and _ended(error)
                if not (stale and repeatable and (upload is None or upload.rewind())):
                    if isinstance(error, Exception):
                        raise self.failure(error, deadline + (upload.waited if upload else 0)) from error.__cause__
                    raise
                connection = None

    def _head(
        self,
        connection: Connection,
        request: bytes,
        timeouts: model.Timeouts,
        deadline: float,
        upload: Upload | None,
    ) -> tuple[Head, Sending | None]:
        """Send the request and receive the answer's head; and what goes on being sent while the answer's body comes."""
        limit = min(self._now() + timeouts.upstream, deadline)
        rest = connection.send(request, limit)
        if upload is None:
            if not rest:
                return connection.head(limit), None
            upload = NOTHING
        sending = Sending(connection, upload, timeouts.upstream, self._now, rest)
        sending.until_answer(deadline)
        head = connection.head(min(self._now() + timeouts.upstream, deadline + upload.waited))
        if sending.whole:
            return head, None
        if sending.goes_on(head):
            return head, sending
        # What was not sent to its end is not the beginning of another request.
        head.keep = False
        return head, None

    def _body(
        self, connection: Connection, method: str, head: Head, timeout: float, sending: Sending | None
    ) -> Iterable[bytes]:
        """What the client gets behind the head; the connection is given back as soon as the body is here."""
        keep = head.keep and sending is None
        if method == "HEAD" or head.status in _BODILESS:
            body = b""
            # A head that announces a body which must not come: some backends send it, and it would be read as the
            # next request's answer.
            keep = keep and not head.length and not head.chunked
            if head.status == 204 and head.length is not None:  # RFC 9110, 8.6: it must not have one
                head.headers[:] = [field for field in head.headers if field[0].lower() != "content-length"]
        elif head.chunked:
            decoder = ChunkDecoder()
            body = decoder.feed(connection.buffer)
            connection.buffer = decoder.rest
            if not decoder.done:
                return AnswerBody(connection, head, self, timeout, self._now, sending, decoder=decoder, first=body)
            head.headers.append(("Content-Length", str(len(body))))
        else:
            whole = small(connection, head, self._now) if sending is None else None
            if whole is None:
                return AnswerBody(connection, head, self, timeout, self._now, sending)
            body = whole
        self.finish(connection, keep and not connection.buffer)
        return [body]

    def _fresh(self, timeouts: model.Timeouts, deadline: float, repeatable: bool) -> Connection:
        """A new connection. When all the instance may have are in use, wait for one as long as for a connect."""
        limit = min(self._now() + timeouts.connect, deadline)
        while not self.pool.reserve():
            if not self.pool.wait(limit - self._now()):
                raise self.failure(PoolExhausted(f"All {self.pool.limit} connections to the instance are in use"))
            connection = self.pool.take(self._now(), timeouts.idle, repeatable)
            if connection is not None:
                return connection
        try:
            return self._dial(timeouts, deadline)
        except BaseException as error:
            self.pool.cancel()
            if isinstance(error, UpstreamFailure):
                raise self.failure(error, deadline) from None
            raise

    def connect(self, timeouts: model.Timeouts, deadline: float) -> Connection:
        """A connection outside of the pool, for whoever closes it himself: a health probe takes none from requests, and
        waits for none of theirs. Raises as `Dialer` does."""
        return self._dial(timeouts, deadline)

    # --- for AnswerBody
    def finish(self, connection: Connection, reusable: bool) -> None:
        if reusable:
            self.pool.put(connection, self._now())
        else:
            self.pool.discard(connection)

    def failure(self, error: Exception, deadline: float | None = None) -> Exception:
        """The refusal that an error on this instance's connection means; what is none of it comes back as it is."""
        if isinstance(error, TimeoutError | ConnectTimeout) and deadline is not None and self._now() >= deadline:
            sent = not isinstance(error, ConnectTimeout)
            error = DeadlineExceeded("The request's time was used up before the backend answered")
            error.sent = sent
        elif isinstance(error, TimeoutError):
            error = UpstreamTimeout("The backend sent nothing more within timeouts.upstream")
        elif isinstance(error, OSError):
            why = error.strerror or str(error) or "before its answer was whole"
            error = UpstreamReset(f"The backend ended the connection: {why}")
        if isinstance(error, UpstreamFailure):
            error.service = self._dial.instance.service
            error.instance = self._dial.instance.id
        return error

    # --- as requests knows it
    def send(  # noqa: PLR0917 (requests' own signature)
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """As requests.Session calls it. The body must be bytes; verify, cert and proxies are the service's own.

        timeout: seconds, or (connect, read); None takes those of the service. Raises requests' exceptions.
        """
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        timeouts = dataclasses.replace(
            self._timeouts, connect=connect or self._timeouts.connect, upstream=read or self._timeouts.upstream
        )
        deadline = self._now() + timeouts.connect + timeouts.dns + timeouts.upstream
        try:
            head, body = self.exchange(
                request.method or "GET", responses.wire_form(request, self.authority), timeouts, deadline
            )
        except UpstreamFailure as failure:
            raise responses.as_requests_error(failure, request) from failure
        return responses.response(request, head, body)

    def close(self) -> None:
        """Close the idle connections now, the others when they are given back."""
        self.pool.close()

    def __repr__(self) -> str:
        return f"InstanceAdapter({self._dial.instance.key}, {self.pool!r})"


def _ended(error: BaseException) -> bool:
    """Whether this is how it looks when the other end had closed the connection."""
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)
