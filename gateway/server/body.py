"""Request bodies as `wsgi.input`: streamed, and never short.

A body is read from the client as the application reads it, so nothing is held here beyond what one read returns. `read`
and its kin return `b""` only when the body is whole, as its framing says. Otherwise they raise: `ClientGone` when the
client closed or broke the connection, `ClientTimeout` when it sent nothing for `client_idle`, `Malformed` for chunk
framing that RFC 9112, 7.1 does not allow, `BodyTooLarge` beyond `limit`. After that the body is `broken` and the
connection cannot be used again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NoReturn, Protocol

from gateway.errors import BodyTooLarge, ClientGone, HeadersTooLarge, Malformed, Refusal
from gateway.server.http1 import HeadLimits, is_token

READ_SIZE: Final = 256 * 1024
_LINE_READ = 64 * 1024
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# A chunk's size and its extensions (RFC 9112, 7.1.1), which mean nothing to us; no white space before the semicolon,
# no sign, no prefix: parsers differ on them, and that is how requests are smuggled.
_is_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*)?").fullmatch
_is_field_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_CHUNK_LINE = 1024  # bytes of one size line
_EXTENSIONS = 16 * 1024  # bytes of all extensions of a body; without a bound they carry any amount for a body of 1 byte


class Source(Protocol):
    """The connection that a body comes from. `buf`: what was received and nobody has consumed yet."""

    buf: bytes

    def receive(self, size: int) -> bytes:
        """Up to `size` bytes, at least one; raises ClientGone or ClientTimeout."""
        ...

    def send(self, data: bytes) -> None: ...

    def wait(self, other: int) -> bool:
        """False when the descriptor `other` has something to read before this has; raises ClientTimeout."""
        ...


class Input:
    """What the two kinds of body have in common: the methods that PEP 3333 asks for, over `_some`.

    limit: the most bytes that this body may have; the application may set another before its first read.
    finished: everything was read. gone: the client left before that. awaited: the client waits for "100 Continue",
    which is sent when the first read finds nothing there; an application that answers without reading never sends it.
    """

    __slots__ = ("_ahead", "_source", "awaited", "broken", "finished", "gone", "limit")

    def __init__(self, source: Source, limit: int, awaited: bool) -> None:
        self._source = source
        self._ahead = b""  # read for a line, behind its end
        self.limit = limit
        self.awaited = awaited
        self.finished = False
        self.broken = False
        self.gone = False

    def _some(self, size: int) -> bytes:
        """Up to `size` bytes of the body, at least one; b"" at its end."""
        raise AssertionError("each kind of body has its own")

    def read1(self, size: int = -1, /) -> bytes:
        """What is there, at most `size` bytes; waits for the first byte. b"" only at the end."""
        if size is None or size < 0:
            size = READ_SIZE
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._some(size) if size else b""

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, fewer only at the end; all that is left when negative or None."""
        if size is None or size < 0:
            size = self.limit + 1  # no body gets that far
        data = self.read1(size)
        if len(data) == size or not data:
            return data
        parts = [data]
        left = size - len(data)
        while left and (data := self._some(min(left, READ_SIZE))):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def readline(self, size: int = -1, /) -> bytes:
        """Up to and with the next line feed, at most `size` bytes."""
        parts: list[bytes] = []
        left = self.limit + 1 if size is None or size < 0 else size
        while left and (data := self.read1(min(left, 8192))):
            end = data.find(b"\n") + 1
            if end:
                parts.append(data[:end])
                self._ahead = data[end:] + self._ahead
                break
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """All lines, or as many as have `hint` bytes together."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def wait(self, other: int) -> bool:
        """Wait for the client: False when the descriptor `other` has something to read before it sends."""
        if self._ahead or self.finished or self._source.buf:
            return True
        try:
            self._invite()
            return self._source.wait(other)
        except Refusal as refusal:
            self._break(refusal)
            raise

    def _invite(self) -> None:
        """Tell the client to go on, if it waits for that."""
        if self.awaited:
            self.awaited = False
            self._source.send(CONTINUE)

    def _receive(self, size: int) -> bytes:
        """From the socket, when the buffer is empty."""
        try:
            self._invite()
            return self._source.receive(size)
        except Refusal as refusal:
            self._break(refusal)
            raise

    def _break(self, refusal: Refusal) -> None:
        self.broken = True
        self.gone = isinstance(refusal, ClientGone)

    def _refuse(self, refusal: Refusal) -> NoReturn:
        self._break(refusal)
        raise refusal

    def _too_large(self) -> NoReturn:
        self._refuse(BodyTooLarge(f"The body is larger than {self.limit} bytes."))


class Empty(Input):
    """The body of a request without one. Stateless, so all requests share it: a limit that is set has no effect."""

    __slots__ = ()

    def __init__(self) -> None:
        """Nothing to set: it has no source."""

    limit = property(lambda self: 0, lambda self, value: None)

    def read(self, size: int = -1, /) -> bytes:
        return b""

    def read1(self, size: int = -1, /) -> bytes:
        return b""

    def readline(self, size: int = -1, /) -> bytes:
        return b""

    def wait(self, other: int) -> bool:
        return True


EMPTY: Final = Empty()


class LengthBody(Input):
    """A body of Content-Length bytes. left: how many of them the application has not read."""

    __slots__ = ("left",)

    def __init__(self, source: Source, length: int, limit: int, awaited: bool) -> None:
        super().__init__(source, limit, awaited)
        self.left = length

    def _some(self, size: int) -> bytes:
        left = self.left
        if not left:
            return b""
        if left > self.limit:
            self._too_large()
        size = min(size, left)
        source = self._source
        held = source.buf
        if held:
            data = held[:size]
            source.buf = held[size:]
            self.awaited = False  # it does not wait
        else:
            data = self._receive(min(size, READ_SIZE))
        left -= len(data)
        self.left = left
        self.finished = not left
        return data

    def expected(self) -> int | None:
        """Bytes that are still to come, None when nobody knows."""
        return self.left


class ChunkedBody(Input):
    """A body in chunks (RFC 9112, 7.1). Extensions and trailer fields are checked and dropped."""

    __slots__ = ("_awaiting", "_extensions", "_limits", "_open", "_taken", "_trailers", "_trailers_size")

    def __init__(self, source: Source, limits: HeadLimits, limit: int, awaited: bool) -> None:
        super().__init__(source, limit, awaited)
        self._limits = limits
        self._awaiting = _SIZE_LINE  # what is done with the next line
        self._open = 0  # bytes of the current chunk that are still to come
        self._taken = 0
        self._extensions = 0
        self._trailers = 0
        self._trailers_size = 0

    def _some(self, size: int) -> bytes:
        """Chunks that have arrived together are returned together; with data in hand nothing is waited for."""
        source = self._source
        held, at = source.buf, 0
        if held:
            self.awaited = False  # it does not wait
        parts: list[bytes] = []
        while size and not self.finished:
            if self._open:
                if at == len(held):
                    if parts:
                        break
                    held, at = self._receive(min(size, self._open, READ_SIZE)), 0
                data = held[at : at + min(size, self._open)]
                parts.append(data)
                at += len(data)
                size -= len(data)
                self._open -= len(data)
                if not self._open:
                    self._awaiting = _CHUNK_END
            else:
                end = held.find(b"\r\n", at)
                if end < 0:
                    self._check_line_length(len(held) - at - 1)
                    if parts:
                        break
                    held, at = held[at:] + self._receive(_LINE_READ), 0
                    continue
                self._check_line_length(end - at)
                self._awaiting(self, held[at:end])
                at = end + 2
        source.buf = held[at:]
        return b"".join(parts)

    def _size_line(self, line: bytes) -> None:
        found = _is_chunk_line(line)
        if found is None:
            self._refuse(Malformed("A chunk does not start with its size in hexadecimal digits."))
        size, extensions = found.groups()
        self._extensions += len(extensions or b"")
        if self._extensions > _EXTENSIONS:
            self._refuse(Malformed(f"The body's chunk extensions are longer than {_EXTENSIONS} bytes together."))
        self._open = int(size, 16)
        self._taken += self._open
        if self._taken > self.limit:
            self._too_large()
        if not self._open:
            self._awaiting = _TRAILER

    def _chunk_end(self, line: bytes) -> None:
        if line:
            self._refuse(Malformed("A chunk is longer than its size says."))
        self._awaiting = _SIZE_LINE

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.finished = True
            return
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name.decode("latin-1")) or not _is_field_value(value):
            self._refuse(Malformed("A trailer field is not valid."))
        self._trailers += 1
        self._trailers_size += len(line) + 2
        if self._trailers > self._limits.count or self._trailers_size > self._limits.size:
            self._refuse(HeadersTooLarge("The body has too many trailer fields, or too long ones."))

    def _check_line_length(self, length: int) -> None:
        if self._awaiting is _TRAILER:
            if length > self._limits.size:
                self._refuse(HeadersTooLarge("The body has too many trailer fields, or too long ones."))
        elif length > _CHUNK_LINE:
            self._refuse(Malformed("A chunk's size line is too long, or the chunk is longer than its size says."))

    def expected(self) -> int | None:
        """Bytes that are still to come, None when nobody knows."""
        return 0 if self.finished else None


# The states of a ChunkedBody: functions, not bound methods, which would tie each body into a reference cycle.
_SIZE_LINE: Final = ChunkedBody._size_line
_CHUNK_END: Final = ChunkedBody._chunk_end
_TRAILER: Final = ChunkedBody._trailer
