"""Request bodies in chunks (RFC 9112, 7.1), read strictly."""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import HeadersTooLarge, Malformed
from gateway.server.body import READ_SIZE, Input, Source
from gateway.server.http1 import HeadLimits, is_token

_LINE_READ = 64 * 1024

# A chunk's size and its extensions (RFC 9112, 7.1.1), which mean nothing to us; no white space before the semicolon,
# no sign, no prefix: parsers differ on them, and that is how requests are smuggled.
_is_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*)?").fullmatch
_is_field_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_CHUNK_LINE = 1024  # bytes of one size line
_EXTENSIONS = 16 * 1024  # bytes of all extensions of a body; without a bound they carry any amount for a body of 1 byte


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
                behind = self._line(held, at)
                if behind:
                    at = behind
                elif parts:
                    break
                else:
                    held, at = held[at:] + self._receive(_LINE_READ), 0
        source.buf = held[at:]
        return b"".join(parts)

    def wait(self, other: int) -> bool:
        """For content or the end. Framing alone is nothing to read: a read would then wait for the client only."""
        while not (self._ahead or self._comes_next()):
            if not self._await(other):
                return False
            if self._open:
                break
            self._source.buf += self._receive(_LINE_READ)
        return True

    def _comes_next(self) -> bool:
        """Take off what framing has arrived: whether content has, too, or the end."""
        held, at = self._source.buf, 0
        if held:
            self.awaited = False
        while not (self._open or self.finished) and (behind := self._line(held, at)):
            at = behind
        self._source.buf = held[at:]
        return self.finished or bool(self._open and at < len(held))

    def _line(self, held: bytes, at: int) -> int:
        """Take a line of the framing; what comes behind it, 0 when it is not whole."""
        end = held.find(b"\r\n", at)
        if end < 0:
            self._check_line_length(len(held) - at - 1)
            return 0
        self._check_line_length(end - at)
        self._awaiting(self, held[at:end])
        return end + 2

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
