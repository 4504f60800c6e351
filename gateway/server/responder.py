"""Answering one request: call the application, send its answer, say whether the connection may be used again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, Final

from gateway.errors import ClientGone, InternalError, Refusal
from gateway.server.answer import CHUNKED, CLOSE, NONE, connection_line, may_have_body, streamed, whole
from gateway.server.body import LengthBody
from gateway.server.chunks import ChunkedBody
from gateway.server.client import Client
from gateway.server.service import Service, status_line

_GONE: Final = f"{ClientGone.status} "  # an answer for the log alone: the client left before it
_DRAINED: Final = 64 * 1024  # bytes of an unwanted body that are read to save the connection
_DRAIN_PATIENCE: Final = 0.25  # seconds for all of them to come

Body = LengthBody | ChunkedBody | None


class Responder(Client):
    """The answering half of a connection. peer: the client's address, "unix" on a unix socket."""

    __slots__ = ("_begun", "_headers", "_status", "_written", "peer", "service")

    def __init__(self, service: Service, sock: socket.socket, peer: str) -> None:
        super().__init__(service, sock, service.idle)
        self.service = service
        self.peer = peer
        self._status: str | None = None
        self._headers: Iterable[tuple[str, str]] = ()
        self._written: list[bytes] = []
        self._begun = False  # a part of a streamed answer went out

    def start_response(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """PEP 3333. What is passed to the callable that it returns goes out before the body."""
        if exc_info is not None:
            if self._begun:
                raise exc_info[1]
        elif self._status is not None:
            raise AssertionError("start_response was called twice")
        self._status = status
        self._headers = headers
        return self._written.append

    def respond(self, environ: dict[str, Any], head: bytes, body: Body, persistent: bool) -> bool:
        """Call the application and send its answer. Whether the connection goes on; when not, it has been ended.

        An answer that is a list (in practice of one bytes object) goes out with its head in one system call.
        """
        self._status = None
        try:
            result = self.service.application(environ, self.start_response)
        except BaseException as error:
            self._failed(error, environ, head)
            return False
        if type(result) is not list or self._written:
            persistent, whole_answer = self._stream(result, environ, head, body, persistent)
            return whole_answer and self._after(body, persistent)
        try:
            if self._status is None:
                raise AssertionError("the application did not call start_response")
            if body is not None and body.gone and self._status.startswith(_GONE):
                self.close()
                return False
            if persistent and (body is not None or self.service.closing > 0):
                persistent = self._may_persist(body)
            line = connection_line(persistent, environ["SERVER_PROTOCOL"] == "HTTP/1.1")
            data = result[0] if len(result) == 1 else b"".join(result)
            first, data = whole(self._status, self._headers, data, environ["REQUEST_METHOD"], line)
        except Exception as error:
            self._failed(error, environ, head)
            return False
        try:
            self.send_with_head(first, data)
        except Refusal:
            self.abort()
            return False
        if body is None and persistent:
            return True
        return self._after(body, persistent)

    def refuse(self, refusal: Refusal, head: bytes) -> None:
        """Answer in the application's stead and end the connection. Does not wait for the client."""
        answer = self.service.refused(refusal, self.peer, head)
        method = "HEAD" if head.startswith(b"HEAD ") else ""
        first, body = whole(status_line(answer), answer.headers, b"".join(answer.body), method, CLOSE)
        self.send_now(first + body)
        self.linger()

    # --- streamed answers
    def _stream(
        self, result: Iterable[bytes], environ: dict[str, Any], head: bytes, body: Body, persistent: bool
    ) -> tuple[bool, bool]:
        """Send an answer piece by piece: (persistent, complete). What breaks off is reset: it must not look whole."""
        complete = False
        try:
            persistent = self._send_pieces(result, environ, body, persistent)
            complete = True
        except BaseException as error:
            if not self._begun:
                self._failed(error, environ, head)
            else:
                if not isinstance(error, Refusal):
                    self._log(error, environ)
                self.abort()
        finally:
            self._begun = False
            self._written.clear()
            close = getattr(result, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:
                    self._log(error, environ)
        return persistent, complete

    def _send_pieces(self, result: Iterable[bytes], environ: dict[str, Any], body: Body, persistent: bool) -> bool:
        """Whether the connection persists. Raises what the application raises, and ClientGone or ClientTimeout.

        The head goes out with the first piece; an empty first piece sends the head at once.
        """
        method = environ["REQUEST_METHOD"]
        pieces = iter(result)
        piece: bytes | None = None
        if self._status is None or may_have_body(self._status, method):
            piece = next(pieces, None)  # a generator calls start_response only now
        if self._status is None:
            raise AssertionError("the application did not call start_response")
        if self._written:
            piece = b"".join([*self._written, piece or b""])
        persistent = persistent and self._may_persist(body)
        at_least_11 = environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        first, framing, persistent = streamed(self._status, self._headers, method, at_least_11, persistent)
        self._begun = True
        if body is not None:  # which may be read on; no interim answer may stand within this one
            body.awaited = False
        if framing == NONE:
            self.send(first)
        elif framing == CHUNKED:
            self._send_chunks(first, piece, pieces)
        else:
            self._send_counted(first, piece, pieces, framing)
        return persistent

    def _send_chunks(self, first: bytes, piece: bytes | None, pieces: Iterator[bytes]) -> None:
        while piece is not None:
            if piece:
                self.send(b"%b%x\r\n%b\r\n" % (first, len(piece), piece))
            elif first:
                self.send(first)
            first = b""
            piece = next(pieces, None)
        self.send(first + b"0\r\n\r\n")

    def _send_counted(self, first: bytes, piece: bytes | None, pieces: Iterator[bytes], framing: int) -> None:
        """A body of `framing` bytes, or one that ends with the connection."""
        left = framing
        while piece is not None:
            if framing >= 0:
                left -= len(piece)
                if left < 0:
                    raise ValueError(f"the body has more than the {framing} bytes of its Content-Length")
            if first:
                self.send_with_head(first, piece)
                first = b""
            elif piece:
                self.send(piece)
            piece = next(pieces, None)
        if left > 0:
            raise ValueError(f"the body ended {left} bytes short of its Content-Length")
        if first:
            self.send(first)

    # --- afterwards
    def _after(self, body: Body, persistent: bool) -> bool:
        """Behind a complete answer: whether the next request can be read; otherwise the connection is ended."""
        if body is not None and not body.finished:
            if persistent and self._drain(body):
                return True
            self.linger()
            return False
        if not persistent:
            self.end()
        return persistent

    def _may_persist(self, body: Body) -> bool:
        """What the answer may promise."""
        if self.service.closing > 0:
            self.service.closing -= 1
            return False
        return body is None or self._reusable(body)

    def _reusable(self, body: LengthBody | ChunkedBody) -> bool:
        """Whether the rest of the body, if there is one, is worth reading for the sake of the connection."""
        if body.finished:
            return True
        if body.broken or body.awaited:  # a client that awaits 100 may send its body or not
            return False
        expected = body.expected()
        return expected is None or expected <= _DRAINED

    def _drain(self, body: LengthBody | ChunkedBody) -> bool:
        """Read the rest of a body that nobody wants, when it is short and comes quickly."""
        if not self._reusable(body):
            return False
        idle, self.idle = self.idle, _DRAIN_PATIENCE
        deadline = monotonic() + _DRAIN_PATIENCE
        taken = 0
        try:
            while not body.finished:
                taken += len(body.read1(_DRAINED))
                if taken > _DRAINED or monotonic() > deadline:
                    return False
        except Refusal:
            return False
        finally:
            self.idle = idle
        return True

    def _failed(self, error: BaseException, environ: dict[str, Any], head: bytes) -> None:
        """The application failed before its answer began."""
        if isinstance(error, ClientGone):
            self.abort()
        elif isinstance(error, Refusal):
            self.refuse(error, head)
        else:
            self._log(error, environ)
            self.refuse(InternalError(), head)

    def _log(self, error: BaseException, environ: dict[str, Any]) -> None:
        """With the path, without the query: it may hold secrets."""
        if self.service.ended:
            return
        path = environ["RAW_URI"].partition("?")[0]
        self.service.log.error("Error handling %s %s", environ["REQUEST_METHOD"], path, exc_info=error)
