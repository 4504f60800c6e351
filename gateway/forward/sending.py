"""A request with a body on its way to the backend: ahead of its answer, and beside it when that begins early."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

from .answers import Head
from .connection import Connection
from .upload import Upload

NOTHING: Final = Upload(io.BytesIO(), 0)  # for a request that is all in the rest; has no state that changes


class Sending:
    """What the backend has not taken of a request: `rest`, and behind it what the client uploads, in its framing.

    `until_answer` sends while nothing else is to be done. Where a final answer begins before the end, `receive` takes
    its place: it reads the answer and sends on in turns, so that neither direction waits for the other (a backend may
    echo, and a client may wait for the echo), all in the thread that serves the request. Nothing is held beyond one
    piece: a backend that does not read stops the client.

    timeout: seconds for the backend to take a piece or to send something. While only the client can go on, its own
    limit runs instead (`Upload.comes`). With a server whose bodies cannot be waited for, the answer comes at the pace
    of the upload's pieces. What the client does wrong is raised; the request at the backend is then never complete.
    """

    __slots__ = ("_connection", "_now", "_rest", "_timeout", "_upload")

    def __init__(
        self,
        connection: Connection,
        upload: Upload,
        timeout: float,
        now: Callable[[], float],
        rest: bytes | memoryview = b"",
    ) -> None:
        self._connection = connection
        self._upload = upload
        self._timeout = timeout
        self._now = now
        self._rest = rest

    @property
    def whole(self) -> bool:
        """Whether the request was sent to its end."""
        return not self._rest and self._upload.ended

    def until_answer(self, deadline: float) -> None:
        """Send to the end, or until a final answer begins. deadline: monotonic; waiting for the client comes on top."""
        connection, upload = self._connection, self._upload
        descriptor = connection.sock.fileno()
        while not self._rest and not upload.ended:
            while not upload.comes(descriptor):
                if connection.answer_begins():
                    return
            piece = upload.piece()
            data = self._framed(piece)
            if piece and connection.answer_begins():
                self._rest = memoryview(data)
                return
            self._rest = connection.send(data, min(self._now() + self._timeout, deadline + upload.waited))

    def goes_on(self, head: Head) -> bool:
        """Whether an early answer with this head lets the request go on.

        Only a success does. One that ends with its connection does not: an end could not be told from a backend that
        closes because it wants no more.
        """
        framed = head.chunked or head.length is not None
        return 200 <= head.status < 300 and framed and not self._connection.broken

    def receive(self) -> bytes:
        """The next bytes of the answer, b"" at the connection's end; the request is sent on meanwhile.

        A backend that takes no more is no error as long as it answers.
        """
        connection, upload = self._connection, self._upload
        descriptor = connection.sock.fileno()
        limit = self._now() + self._timeout
        while not self.whole and not connection.broken:
            # Nothing that TLS has decrypted is overlooked by waiting: a receive takes all of a record.
            if not self._rest and upload.comes(descriptor):
                self._rest = memoryview(self._framed(upload.piece()))
                limit = self._now() + self._timeout
            if self._rest:
                self._send()
            data = connection.try_receive()
            if data is not None:
                return data
            if self._rest and not connection.broken:
                connection.wait(limit)
        return connection.receive(self._now() + self._timeout)

    def _send(self) -> None:
        try:
            self._rest = self._rest[self._connection.try_send(self._rest) :]
        except ConnectionError:  # what it has answered may be there all the same
            self._connection.broken = True

    def _framed(self, piece: bytes) -> bytes:
        if self._upload.length is not None:
            return piece
        return b"%x\r\n%b\r\n" % (len(piece), piece)
