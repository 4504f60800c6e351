"""The request body: whether there is one, how long it is, and how much of it may be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.errors import BodyTooLarge, Malformed, NotSupported
from gateway.exchange import Answer, Body, Exchange

_MOST_DIGITS = 18  # of a Content-Length; more is no length but an attack on int()


def attach_body(exchange: Exchange) -> None:
    """Fill the exchange's body, content_length and chunked from the environ; without a body nothing changes.

    Malformed: a length that is none, or one beside chunked (RFC 9112, 6.3). NotSupported: another transfer coding.
    """
    environ = exchange.environ
    coding, length = environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH")
    if coding:
        if coding.strip().lower() != "chunked":
            raise NotSupported("the only transfer coding that is understood is chunked")
        if length:
            raise Malformed("Content-Length and Transfer-Encoding exclude each other")
        exchange.chunked = True
        exchange.body = environ["wsgi.input"]
    elif length:
        if not (length.isascii() and length.isdigit()):
            raise Malformed("Content-Length is not a number")
        if len(length) > _MOST_DIGITS:
            raise BodyTooLarge("Content-Length is beyond any limit")
        exchange.content_length = int(length)
        if exchange.content_length:
            exchange.body = environ["wsgi.input"]


def limit_body(exchange: Exchange, limit: int) -> None:
    """Let at most `limit` bytes of body pass. BodyTooLarge at once when the announced length is over it.

    A chunked body is refused when it is read beyond the limit: by the server's own body object where it has a `limit`,
    else by one put around it. The last call holds, so a route may allow more or less than the server does.
    """
    body: Any = exchange.body
    if body is None:
        return
    if exchange.content_length is not None and exchange.content_length > limit:
        raise BodyTooLarge(f"the body is {exchange.content_length} bytes long, {limit} are allowed")
    if hasattr(body, "limit"):
        body.limit = limit
    elif exchange.chunked:
        exchange.body = LimitedBody(body, limit)


class BodyLimit:
    """A stage behind routing (see `pipeline`): holds a request's body to its route's limit, else to the server's.

    default: `server.max_request_body`.
    """

    def __init__(self, default: int) -> None:
        self._default = default

    def __call__(self, exchange: Exchange, proceed: Callable[[Exchange], Answer]) -> Answer:
        if exchange.body is not None:
            limit: int | None = exchange.route.max_request_body
            limit_body(exchange, self._default if limit is None else limit)
        return proceed(exchange)


class LimitedBody:
    """A body of unknown length under a server that limits none."""

    def __init__(self, body: Body, limit: int) -> None:
        self._body = body
        self._moved = 0
        self.limit = limit

    def read(self, size: int = -1, /) -> bytes:
        """Never asks for more than a byte beyond the limit. BodyTooLarge once that byte came."""
        room = self.limit - self._moved + 1
        data = self._body.read(room if size < 0 else min(size, room))
        self._moved += len(data)
        if self._moved > self.limit:
            raise BodyTooLarge(f"the body is longer than the {self.limit} bytes that are allowed")
        return data
