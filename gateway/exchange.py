"""One request on its way, and its answer: the only two values that travel through the stages.

`Exchange` is filled from left to right of the pipeline; each group of fields names the stage that sets it. `Answer`
separates "decided" (status and headers) from "bytes moved" (body): a body that is one bytes object is sent together
with the head, any other is an iterator that is closed when the last byte went out or the client left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

Plane = Literal["external", "internal"]
Headers = list[tuple[str, str]]


class Body(Protocol):
    """A request body as `wsgi.input` offers it. `read1(n)`, where there is one, returns what is there; `wait(fd)`,
    where there is one, waits for something to read: False when that descriptor has something to read before."""

    def read(self, size: int = -1, /) -> bytes: ...


class Answer:
    """status: an int. headers: name and value as they go out (no hop-by-hop ones; Content-Length where it is known).

    body: a list of one bytes object, or an iterable of bytes objects with an optional close().
    refusal: the error that this answer tells, for the record; None for a backend's or a resource's answer.
    phrase: the reason phrase that a backend sent; None takes the standard one.
    """

    __slots__ = ("body", "headers", "phrase", "refusal", "status")

    def __init__(
        self,
        status: int,
        headers: Headers,
        body: Iterable[bytes],
        phrase: str | None = None,
        refusal: Exception | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.phrase = phrase
        self.refusal = refusal

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.headers!r})"


class Exchange:
    """One request: what the client sent, then what each stage decided about it.

    Times are `clock.monotonic()` seconds. `headers` are the client's, as sent, in order; `raw_path` and `query` are the
    client's own bytes (as latin-1 text); `path` is the canonical form that routes are matched against. Mutable, and
    owned by the one thread that serves the request.
    """

    __slots__ = (  # noqa: RUF023 - in the order of the stages
        # the server: what arrived, where
        "environ", "plane", "method", "raw_path", "query", "headers", "body", "content_length", "chunked", "received",
        "peer",
        # edge: who is the client
        "client", "scheme", "host", "trusted", "request_id", "path", "principal",
        # routing: what is wanted
        "route", "variables", "service_name", "target",
        # upstream: who answers, until when
        "service", "instance", "attempts", "tried", "deadline", "cut_short", "timeouts",
        # forward: the body on its way up
        "upload",
        # the record: what happened
        "bytes_in", "upstream_seconds",
    )  # fmt: skip

    def __init__(self, environ: Mapping[str, Any], plane: Plane) -> None:
        self.environ = environ
        self.plane: Plane = plane
        self.method: str = environ["REQUEST_METHOD"]
        self.raw_path = ""  # without the query; target-as-sent minus scheme and authority
        self.query: str | None = None  # None: no "?"; "": a "?" with nothing behind it
        self.headers: Headers = []
        self.body: Body | None = None  # None: the request has no body
        self.content_length: int | None = None  # None with a body: chunked
        self.chunked = False
        self.received = 0.0  # when the request's head was whole, or it began to wait for a thread
        self.peer = ""  # the address of the socket's other end, "unix" for a unix socket
        self.client = ""
        self.scheme = "http"
        self.host = ""
        self.trusted = False  # the peer is one of server.trusted_proxies
        self.request_id = ""
        self.path = ""
        self.principal: str | None = None  # who the client proved to be; None: nobody in particular
        self.route: Any = None  # routing.table.Match's route
        self.variables: Mapping[str, str] = {}
        self.service_name: str | None = None
        self.target = ""  # path and query to ask the backend for
        self.service: Any = None
        self.instance: Any = None
        self.attempts = 0
        self.tried: tuple[str, ...] = ()  # keys of the instances that failed this request before
        self.deadline = 0.0
        self.cut_short = False  # by the caller's own deadline: what runs into it says nothing about the instance
        self.timeouts: Any = None  # config.model.Timeouts in force
        self.upload: Any = None  # forward.upload.Upload; `replayable` (another attempt can send it) and `received`
        self.bytes_in = 0
        self.upstream_seconds = 0.0

    def __repr__(self) -> str:
        return f"Exchange({self.method} {self.raw_path!r} on {self.plane}, id={self.request_id!r})"
