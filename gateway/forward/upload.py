"""The client's request body on its way up: read piece by piece, whole or given up, and replayable while it is small."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.errors import ClientGone, Malformed, Refusal
from gateway.exchange import Body

PIECE = 64 * 1024  # bytes read from the client at once
KEPT = 64 * 1024  # bytes that are kept for another try; a longer body is sent once


class Upload:
    """A request body, read once and sent as often as it is kept. Owned by the thread that serves the request.

    length: Content-Length, None for a chunked one. received: bytes that came from the client. waited: seconds spent in
    waiting for it; the caller resets it. No error of the client ends as a short body: `piece` raises.
    """

    __slots__ = (
        "_at",
        "_body",
        "_ended",
        "_failure",
        "_kept",
        "_left",
        "_now",
        "_read",
        "_wait",
        "length",
        "received",
        "waited",
    )

    def __init__(self, body: Body, length: int | None, now: Callable[[], float] = time.monotonic) -> None:
        self.length = length
        self.waited = 0.0
        self.received = 0
        self._read: Callable[[int], bytes] = getattr(body, "read1", body.read)
        self._wait: Callable[[int], bool] | None = getattr(body, "wait", None)
        self._now = now
        self._left = length
        self._kept: list[bytes] | None = []  # None: more came than is kept
        self._at = 0  # the next of the kept pieces to send
        self._ended = length == 0
        self._failure: Refusal | None = None

    def piece(self) -> bytes:
        """The next bytes, b"" at the end. Raises what the client did: ClientGone, ClientTimeout, BodyTooLarge, …"""
        if self._kept is not None and self._at < len(self._kept):
            self._at += 1
            return self._kept[self._at - 1]
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return b""
        return self._from_client(PIECE if self._left is None else min(PIECE, self._left))

    def comes(self, other: int) -> bool:
        """Wait for the next piece: False when the descriptor `other` has something to read before.

        With a server whose bodies have no `wait` it is always True. Raises as `piece` does.
        """
        again = self._kept is not None and self._at < len(self._kept)
        if self._wait is None or again or self._ended or self._failure is not None:
            return True
        started = self._now()
        try:
            return self._wait(other)
        except Refusal as refusal:
            self._failure = refusal
            raise
        finally:
            self.waited += self._now() - started

    def small(self) -> bytes | None:
        """The whole body if that is what the client sends first, or what is kept, so that it can go with the head.

        None for a body that is long, of unknown length or still coming; `piece` begins with its first byte.
        """
        if self.length is None or self.length > KEPT:
            return None
        self._at = 0
        if not self.received:
            self.piece()
            self._at = 0
        if not self._ended or self._kept is None:
            return None
        return self._kept[0] if len(self._kept) == 1 else b"".join(self._kept)

    @property
    def ended(self) -> bool:
        """Whether the last piece was passed on; of a chunked body that is the empty one."""
        return self._ended and (self._kept is None or self._at == len(self._kept))

    @property
    def replayable(self) -> bool:
        """Whether all that was read is kept, so that it can be sent again."""
        return self._kept is not None

    def rewind(self) -> bool:
        """Begin again with the first byte; False when it is gone."""
        self._at = 0
        return self.replayable

    def _from_client(self, size: int) -> bytes:
        started = self._now()
        try:
            data = self._read(size)
            if not data and self._left:
                # Servers other than ours tell a client that broke off by a short read.
                raise ClientGone(f"The client closed the connection {self._left} bytes before the end of its body")
        except Refusal as refusal:
            self._failure = refusal
            raise
        except OSError as error:
            self._failure = ClientGone(f"The client broke off its body: {error}")
            raise self._failure from None
        except Exception as error:  # whatever a WSGI server's own body object raises for a broken one
            self._failure = Malformed(f"The request body is not valid: {error}")
            raise self._failure from error
        finally:
            self.waited += self._now() - started
        self.received += len(data)
        if self._left is not None:
            self._left -= len(data)
        self._ended = not (data and self._left != 0)
        if self._kept is not None:
            if self.received <= KEPT:
                self._kept.append(data)
                self._at += 1
            else:
                self._kept = None
        return data
