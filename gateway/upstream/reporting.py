"""How an attempt ended, told to the breaker and to passive health: at once, or when its body has moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.exchange import Exchange
from gateway.state.breakers import Permit

from .targets import Target


def report(target: Target, permit: Permit | None, ok: bool | None, seconds: float) -> None:
    """ok: True, False, or None when nothing was learnt about the instance. seconds: from the attempt's begin to its
    answer's head, or to its failure."""
    if permit is not None:
        permit.done(ok, seconds)
    if ok is False and target.passive:
        target.health.failed()


class Streamed:
    """A body on its way; at its end the request is no longer in flight, and the outcome, unless told, is."""

    __slots__ = ("_body", "_exchange", "_in_flight", "_next", "_permit", "_seconds", "_target", "_told")

    def __init__(
        self,
        body: Iterable[bytes],
        exchange: Exchange,
        in_flight: memoryview,
        target: Target,
        permit: Permit | None,
        *,
        told: bool = False,
    ) -> None:
        self._body = body
        self._exchange = exchange
        self._next = iter(body).__next__
        self._in_flight: memoryview | None = in_flight  # None: it has ended
        self._target = target
        self._permit = permit
        self._seconds = exchange.upstream_seconds
        self._told = told

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return self._next()
        except StopIteration:
            self._end(True)
            raise
        except BaseException as error:
            self._end(self._target.judged(error, self._exchange))
            raise

    def close(self) -> None:
        """The server has sent what it could. Before the end of the body that is the client's doing."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end(None)

    def _end(self, ok: bool | None) -> None:
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is None:
            return
        in_flight[self._target.in_flight] -= 1
        if not self._told:
            report(self._target, self._permit, ok, self._seconds)
