"""The record of a request: one metric and one line, written when the last byte of its answer was decided or moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.errors import ClientGone, CutOff, InternalError, Refusal
from gateway.exchange import Answer, Exchange
from gateway.telemetry.access import AccessLog
from gateway.telemetry.metrics import RequestMetrics

_BODILESS = frozenset((204, 304))


class Recorder:
    """access, metrics: None where there is none (a test, a gateway without metrics).

    begin(exchange): it is under way from now on, and will be recorded once, by whoever takes it out of `_under_way`,
    which is one step: its own thread at the end of its answer, or `cut`.
    """

    def __init__(self, access: AccessLog | None, metrics: RequestMetrics | None, clock: Clock) -> None:
        self._access = access
        self._metrics = metrics
        self._monotonic = clock.monotonic
        self._log = structlog.get_logger("gateway.edge")
        self._under_way: set[Exchange] = set()
        self.begin = self._under_way.add
        self._bodies: dict[Exchange, RecordedBody] = {}  # of those whose answers are streamed

    def whole(self, exchange: Exchange, answer: Answer) -> None:
        """Record an answer whose body is at hand, or arrange that a streamed one is recorded at its end."""
        body = answer.body
        if type(body) is list:
            reason = None if answer.refusal is None else getattr(answer.refusal, "reason", InternalError.reason)
            self.write(exchange, answer.status, reason, len(body[0]) if len(body) == 1 else sum(map(len, body)))
        else:
            answer.body = self._bodies[exchange] = RecordedBody(body, exchange, answer, self)

    def cut(self) -> None:
        """Record what is still under way: the process ends, and with it these answers, of which no more goes out."""
        for exchange in list(self._under_way):
            try:
                self._under_way.remove(exchange)
            except KeyError:  # it has just come to its end
                continue
            if exchange.upload is not None:
                exchange.bytes_in = exchange.upload.received
            body = self._bodies.get(exchange)
            status, moved = (CutOff.status, 0) if body is None else (body.status, body.moved)
            self._write(exchange, status, CutOff.reason, moved)

    def write(self, exchange: Exchange, status: int, reason: str | None, bytes_out: int) -> None:
        """Record how it ended, unless it was cut off before."""
        try:
            self._under_way.remove(exchange)
        except KeyError:
            return
        self._write(exchange, status, reason, bytes_out)

    def ended(self, exchange: Exchange, status: int, reason: str | None, bytes_out: int) -> None:
        """The same for a streamed answer."""
        self.write(exchange, status, reason, bytes_out)
        self._bodies.pop(exchange, None)

    def _write(self, exchange: Exchange, status: int, reason: str | None, bytes_out: int) -> None:
        """Never raises: what fails here must not cost the client its answer."""
        try:
            seconds = self._monotonic() - exchange.received
            if self._metrics is not None:
                self._metrics.observe(exchange, status, reason, seconds)
            if self._access is not None:
                self._access.write(exchange, status, reason, bytes_out, seconds)
        except Exception:
            self._log.exception("record_failed", request_id=exchange.request_id)

    def failed(self, exchange: Exchange) -> None:
        """An exception that is no refusal: our bug. Called while it is being handled."""
        told = {"request_id": exchange.request_id, "method": exchange.method, "path": exchange.raw_path}
        self._log.exception("internal_error", **told)


class RecordedBody:
    """A streamed body that tells the recorder once how it ended.

    Ended: as the answer said. Broken off by the backend: the refusal's reason. Closed before its end: the client left,
    unless the answer has no body to move or all that its Content-Length announced was moved.
    """

    __slots__ = ("_answer", "_body", "_exchange", "_next", "_recorder", "moved")

    def __init__(self, body: Iterable[bytes], exchange: Exchange, answer: Answer, recorder: Recorder) -> None:
        self._body: Any = body
        self._next = iter(body).__next__
        self._exchange = exchange
        self._answer = answer
        self._recorder: Recorder | None = recorder  # None: it was told
        self.moved = 0  # bytes so far

    @property
    def status(self) -> int:
        return self._answer.status

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = self._next()
        except StopIteration:
            self._tell(None)
            raise
        except Refusal as refusal:
            self._tell(refusal.reason)
            raise
        except Exception:
            if self._recorder is not None:
                self._recorder.failed(self._exchange)
            self._tell(InternalError.reason)
            raise
        self.moved += len(chunk)
        return chunk

    def close(self) -> None:
        """Idempotent. What it closes may raise; the request is recorded all the same."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            if self._recorder is not None:
                self._tell(None if self._complete() else ClientGone.reason)

    def _complete(self) -> bool:
        if self._exchange.method == "HEAD" or self._answer.status in _BODILESS:
            return True
        moved = str(self.moved)
        return any(name.lower() == "content-length" and value == moved for name, value in self._answer.headers)

    def _tell(self, reason: str | None) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            refusal = self._answer.refusal
            upload = self._exchange.upload
            if upload is not None:  # it may have gone on beside the answer
                self._exchange.bytes_in = upload.received
            recorder.ended(self._exchange, self._answer.status, reason or getattr(refusal, "reason", None), self.moved)
