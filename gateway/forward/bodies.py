"""Bodies of answers: their three framings (RFC 9112, 6.3), each either whole or broken off, never short."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from gateway.errors import BadAnswer

from .answers import Head
from .connection import Closed, Connection
from .sending import Sending

SMALL = 64 * 1024  # bytes; a body of known length up to this is waited for, so that it goes out with the head
_PATIENCE = 0.02  # seconds of that waiting
_CHUNK_LINE = 4096  # bytes of a chunk's size with its extensions
_TRAILERS = 64 * 1024  # bytes of all trailer fields

# No sign, no prefix, as int() would take. Some servers pad the size with spaces.
_is_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?").fullmatch


class ChunkDecoder:
    """Takes the chunk framing off (RFC 9112, 7.1). Extensions and trailer fields are dropped.

    done: the last chunk and the trailers are through; `rest` is then what came behind them.
    """

    __slots__ = ("_in_trailers", "_left", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._left = 0  # of the chunk, with the CRLF behind it; 0: a size line comes next
        self._in_trailers = False
        self._trailers = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The content that became readable. BadAnswer when the framing is broken."""
        if self.rest:
            data = self.rest + data
        found: list[bytes] = []
        at, end = 0, len(data)
        while not self.done:
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left > 2:
                    break
            if self._left:
                if end - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise BadAnswer("A chunk of the backend's answer is longer than it says")
                at += 2
                self._left = 0
            eol = data.find(b"\r\n", at)
            if eol < 0:
                if end - at > (_TRAILERS if self._in_trailers else _CHUNK_LINE):
                    raise BadAnswer("A line in the chunked framing of the backend's answer is too long")
                break
            if self._in_trailers:
                self.done = eol == at
                self._trailers += eol - at
                if self._trailers > _TRAILERS:
                    raise BadAnswer("The trailers of the backend's answer are too long")
            else:
                line = _is_chunk_line(data, at, eol) if eol - at <= _CHUNK_LINE else None
                if not line:
                    raise BadAnswer("A chunk of the backend's answer has no valid size")
                size = int(line[1], 16)
                self._in_trailers = not size
                self._left = size + 2 if size else 0
            at = eol + 2
        self.rest = data[at:]
        return found[0] if len(found) == 1 else b"".join(found)


def small(connection: Connection, head: Head, now: Callable[[], float]) -> bytes | None:
    """The body, if its length is known and small and it is there within a moment; else None, and nothing is lost.

    A connection that ends meanwhile is left for the stream to find: what the client gets does not depend on timing.
    """
    length = head.length
    data = connection.buffer
    if length is None or length > SMALL:
        return None
    if len(data) < length:
        limit = now() + _PATIENCE
        try:
            while len(data) < length and (more := connection.more(max(limit - now(), 0))):
                data += more
        except OSError:
            connection.broken = True
        if len(data) < length:
            connection.buffer = data
            return None
    connection.buffer = data[length:]
    return data[:length]


class Owner(Protocol):
    """Whose connection it is: the instance's adapter."""

    def finish(self, connection: Connection, reusable: bool) -> None:
        """Take the connection back: into the pool, or close it."""
        ...

    def failure(self, error: Exception, deadline: float | None) -> Exception:
        """What to raise in the place of an error on this instance's connection."""
        ...


class AnswerBody:
    """A body on its way: an iterator that hands the connection back once, when it is whole or given up.

    Where the backend breaks it off, it raises UpstreamReset, UpstreamTimeout or BadAnswer; who passes it on must then
    break off too. timeout: seconds between two reads. decoder and first: of a chunked body, what was decoded already.
    sending: the request, where its own body goes on beside this one; then it also raises what the client did. The end
    of the answer is the end of both.
    """

    __slots__ = ("_connection", "_keep", "_now", "_open", "_owner", "_pieces", "_sending", "_timeout")

    def __init__(  # noqa: PLR0917
        self,
        connection: Connection,
        head: Head,
        owner: Owner,
        timeout: float,
        now: Callable[[], float],
        sending: Sending | None = None,
        *,
        decoder: ChunkDecoder | None = None,
        first: bytes = b"",
    ) -> None:
        self._connection = connection
        self._keep = head.keep
        self._owner = owner
        self._timeout = timeout
        self._now = now
        self._sending = sending
        self._open = True
        if decoder is not None:
            self._pieces = self._chunks(decoder, first)
        elif head.length is not None:
            self._pieces = self._counted(head.length)
        else:
            self._pieces = self._rest()

    def __iter__(self) -> AnswerBody:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            self._finish(False)
            raise
        except Exception as error:
            self._finish(False)
            raise self._owner.failure(error, None) from None

    def close(self) -> None:
        """Give up what is left, if anything is; the connection is then closed."""
        self._finish(False)

    def _finish(self, reusable: bool) -> None:
        if self._open:
            self._open = False
            self._owner.finish(self._connection, reusable)

    def _read(self) -> bytes:
        if self._sending is not None:
            return self._sending.receive()
        return self._connection.receive(self._now() + self._timeout)

    # The connection is free before the last piece is passed on: a slow client does not hold it.
    def _whole(self) -> None:
        sent = self._sending is None or self._sending.whole
        self._finish(sent and self._keep and not self._connection.buffer)

    # The first piece is empty when nothing is there yet: the head need not wait for it.
    def _first(self) -> bytes:
        connection = self._connection
        data, connection.buffer = connection.buffer, b""
        return data or connection.more(0) or b""

    def _counted(self, left: int) -> Iterator[bytes]:
        data = self._first()
        while len(data) < left:
            yield data
            left -= len(data)
            if not (data := self._read()):
                raise Closed(f"{left} bytes before the end of its body")
        data, self._connection.buffer = data[:left], data[left:]
        self._whole()
        yield data

    def _chunks(self, decoder: ChunkDecoder, data: bytes) -> Iterator[bytes]:
        if not data:
            data = decoder.feed(self._connection.more(0) or b"")
        if not decoder.done:
            yield data
            data = b""
        while not decoder.done:
            if data:
                yield data
            if not (raw := self._read()):
                raise Closed("before the last chunk of its body")
            data = decoder.feed(raw)
        self._connection.buffer = decoder.rest
        self._whole()
        if data:
            yield data

    def _rest(self) -> Iterator[bytes]:
        data = self._first()
        yield data
        while data := self._read():
            yield data
        if self._connection.broken:  # an end by reset, noticed when sending, is no end of a body
            raise Closed("with a reset")
