"""Request bodies as `wsgi.input`: streamed, and never short.

A body is read from the client as the application reads it, so nothing is held here beyond what one read returns. `read`
and its kin return `b""` only when the body is whole, as its framing says. Otherwise they raise: `ClientGone` when the
client closed or broke the connection, `ClientTimeout` when it sent nothing for `client_idle`, `Malformed` for chunk
framing that RFC 9112, 7.1 does not allow, `BodyTooLarge` beyond `limit`. After that the body is `broken` and the
connection cannot be used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NoReturn, Protocol

from gateway.errors import BodyTooLarge, ClientGone, Refusal

READ_SIZE: Final = 256 * 1024
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


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
        return bool(self._ahead or self.finished or self._source.buf) or self._await(other)

    def _await(self, other: int) -> bool:
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
