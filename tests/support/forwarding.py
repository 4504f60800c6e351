"""A Forward without the rest of the gateway: exchanges made by hand, sessions over real sockets."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from gateway.config.model import Pool, Service, Timeouts, UpstreamTls
from gateway.exchange import Answer, Exchange
from gateway.forward.dial import Rule
from gateway.forward.headers import Edits
from gateway.forward.http import Forward
from gateway.forward.resolver import Resolver, system_lookup
from gateway.forward.sessions import Sessions

PSEUDONYM = "gateway-under-test"
PATIENT = Timeouts(connect=5.0, request=30.0, upstream=20.0, idle=60.0, dns=5.0)

_numbers = itertools.count()


@dataclass(frozen=True)
class Instance:
    url: str
    id: str = "i1"
    service: str = "echo"

    @property
    def key(self) -> str:
        return f"{self.service}/{self.id}@{self.url}"


def make_exchange(
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (("Host", "api.example.com"),),
    body: Any = None,
    *,
    chunked: bool = False,
    trusted: bool = False,
    peer: str = "192.0.2.7",
    timeouts: Timeouts = PATIENT,
    request_headers: Edits | None = None,
    response_headers: Edits | None = None,
    preserve_host: bool = True,
) -> Exchange:
    """An exchange as edge, routing and upstream leave it. body: bytes, or an object with read (then with Content-Length
    among `headers`, or chunked)."""
    exchange = Exchange({"REQUEST_METHOD": method}, "external")
    exchange.target = target
    exchange.headers = list(headers)
    if isinstance(body, bytes):
        if chunked:
            exchange.headers.append(("Transfer-Encoding", "chunked"))
        else:
            exchange.headers.append(("Content-Length", str(len(body))))
        exchange.body = io.BytesIO(body) if body else None
    else:
        exchange.body = body
    lengths = [int(value) for name, value in exchange.headers if name.lower() == "content-length"]
    exchange.content_length = lengths[0] if lengths else None
    exchange.chunked = chunked
    exchange.peer = exchange.client = peer
    exchange.trusted = trusted
    exchange.host = next((value for name, value in headers if name.lower() == "host"), "")
    exchange.request_id = f"request-{next(_numbers)}"
    exchange.timeouts = timeouts
    exchange.route = SimpleNamespace(
        preserve_host=preserve_host, request_headers=request_headers, response_headers=response_headers
    )
    return exchange


class Forwarding:
    """Forward with everything under it; close it at the end."""

    def __init__(
        self,
        *,
        rule: Rule = lambda instance, address, port: None,
        pool: int = 64,
        tls: UpstreamTls | None = None,
        lookup: Any = system_lookup,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resolver = Resolver(lookup)
        self.resolver.start()
        self.sessions = Sessions(self.resolver, rule, now)
        self.forward = Forward(self.sessions, PSEUDONYM, now)
        self.now = now
        self.settings = Service(pool=Pool(max_connections=pool), tls=tls, timeouts=PATIENT)

    def __enter__(self) -> Forwarding:
        return self

    def __exit__(self, *_: object) -> None:
        self.sessions.close()
        self.resolver.close()

    def __call__(self, url: str, exchange: Exchange | None = None, **arguments: Any) -> Answer:
        """Forward an exchange (or one made of `arguments`) to the instance at `url`."""
        if exchange is None:
            exchange = make_exchange(**arguments)
        exchange.instance = Instance(url)
        exchange.service = SimpleNamespace(settings=self.settings)
        exchange.deadline = self.now() + exchange.timeouts.request
        return self.forward(exchange)

    def pool(self, url: str) -> Any:
        return self.sessions.of(Instance(url), self.settings).adapter.pool


def content(answer: Answer) -> bytes:
    """The whole body, as a server would pass it on; what breaks it off is raised."""
    return b"".join(pieces(answer))


def pieces(answer: Answer) -> Iterator[bytes]:
    try:
        yield from answer.body
    finally:
        close = getattr(answer.body, "close", None)
        if close is not None:
            close()
