"""The edge: makes the exchange out of a WSGI environ and an answer out of whatever happens to it.

It is around all stages (see pipeline.py) and the only place that catches: a refusal becomes problem+json, anything else
a 500 whose traceback is in the log under the request's id.

Of the environ it reads PEP 3333's keys and those that our worker adds (`gateway.plane`, `gateway.received`,
`gateway.peer`, `gateway.headers` with RAW_URI), with fallbacks for other servers. HTTP_* keys are trusted to come from
names without "_": our worker, gunicorn and Werkzeug leave out the others, so no X_Forwarded_For gets past a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.clock import Clock
from gateway.errors import BadHost, InternalError, Refusal
from gateway.exchange import Answer, Exchange, Headers, Plane

from . import target
from .bodies import attach_body
from .ids import VALID, RequestIds
from .planes import Planes
from .problems import problem
from .proxies import UNIX, Proxies
from .record import Recorder

REQUEST_ID = "X-Request-ID"
_ID_LOWER = REQUEST_ID.lower()

# Of a head that the server refused:
_MOST_READ = 64 * 1024
_MOST_TARGET = 2048
_TOLD = {"x-request-id": "HTTP_X_REQUEST_ID", "x-forwarded-for": "HTTP_X_FORWARDED_FOR", "forwarded": "HTTP_FORWARDED"}
_method = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}").fullmatch


class Edge:
    """proceed: the composed stages of each listener. security_headers: for external answers that lack them."""

    def __init__(
        self,
        proceed: Mapping[Plane, Callable[[Exchange], Answer]],
        *,
        planes: Planes,
        proxies: Proxies,
        recorder: Recorder,
        clock: Clock,
        security_headers: Mapping[str, str],
    ) -> None:
        self._proceed = dict(proceed)
        self._planes = planes
        self._proxies = proxies
        self._recorder = recorder
        self._begin = recorder.begin
        self._monotonic = clock.monotonic
        self._make_id = RequestIds().make
        self._security = [(name.lower(), name, value) for name, value in security_headers.items()]

    def serve(self, environ: Mapping[str, Any]) -> Answer:
        """Answer one request. Never raises."""
        exchange = Exchange(environ, self._planes.of(environ))
        try:
            self._enter(exchange, environ)
            answer = self._proceed[exchange.plane](exchange)
        except Refusal as refusal:
            answer = problem(refusal, exchange.request_id, exchange.method)
        except Exception:
            self._recorder.failed(exchange)
            answer = problem(InternalError(), exchange.request_id, exchange.method)
        return self._leave(exchange, answer)

    def refused(self, refusal: Refusal, plane: Plane, peer: str, head: bytes) -> Answer:
        """The answer to what the server refuses itself, with its record. head: what arrived, however little or wrong.

        Never raises. What the head tells is taken for the log as far as it can be read.
        """
        environ = {**_read_head(head), "gateway.peer": peer, "gateway.received": refusal.received}
        exchange = Exchange(environ, plane)
        try:
            self._identify(exchange, environ)
            self._aim(exchange, environ["RAW_URI"])
        except Refusal:
            pass  # the refusal at hand is the one to tell
        except Exception:
            self._recorder.failed(exchange)
        return self._leave(exchange, problem(refusal, exchange.request_id, exchange.method))

    def _enter(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        """Fill the exchange. First what the record needs, so that a refusal further on is told in full."""
        self._identify(exchange, environ)
        headers = environ.get("gateway.headers")
        exchange.headers = _headers(environ) if headers is None else headers
        authority = self._aim(exchange, target.as_sent(environ) if headers is None else environ["RAW_URI"])
        host = environ.get("HTTP_HOST")
        if host is None:
            host = _own_name(environ)
        elif not target.is_authority(host):
            raise BadHost("the Host header is not a host name or address")
        if authority is not None:
            # RFC 9112, 3.2.2: the URL's host replaces Host, for us and for whoever is behind us.
            host = authority
            others = [field for field in exchange.headers if field[0].lower() != "host"]
            exchange.headers = [("Host", host), *others]
        exchange.host = exchange.host or host
        attach_body(exchange)

    def _identify(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        """When, from whom, under which id."""
        exchange.received = environ.get("gateway.received") or self._monotonic()
        self._begin(exchange)
        peer = environ.get("gateway.peer")
        if peer is None:
            # gunicorn gives the peer of a unix socket as "". No REMOTE_ADDR at all: no server, nobody to trust.
            peer = environ.get("REMOTE_ADDR", "unknown") or UNIX
        peer, exchange.trusted = self._proxies.peer(peer)
        exchange.peer = exchange.client = peer
        exchange.scheme = environ.get("wsgi.url_scheme", "http")
        if exchange.trusted:
            request_id = environ.get("HTTP_X_REQUEST_ID")
            exchange.request_id = request_id if request_id and VALID(request_id) else self._make_id()
            sender = self._proxies.sender(peer, environ)
            exchange.client = sender.client
            exchange.scheme = sender.scheme or exchange.scheme
            exchange.host = sender.host or ""
        else:
            exchange.request_id = self._make_id()

    def _aim(self, exchange: Exchange, sent: str) -> str | None:
        """Take the request target apart; returns the authority of an absolute one."""
        exchange.raw_path = target.without_user(sent).partition("?")[0]  # for the log, should it be refused now
        authority, exchange.raw_path, exchange.query = target.split(exchange.method, sent)
        return authority

    def _leave(self, exchange: Exchange, answer: Answer) -> Answer:
        # A backend's own X-Request-ID gives way. The length spares nearly every name the lower().
        size = len(REQUEST_ID)
        headers = [field for field in answer.headers if len(field[0]) != size or field[0].lower() != _ID_LOWER]
        headers.append((REQUEST_ID, exchange.request_id))
        if self._security and exchange.plane == "external":
            there = {name.lower() for name, _ in headers}
            headers += [(name, value) for lower, name, value in self._security if lower not in there]
        answer.headers = headers
        self._recorder.whole(exchange, answer)
        return answer


def _own_name(environ: Mapping[str, Any]) -> str:
    """The Host of a request without one: HTTP/1.0 knows none (health checks of load balancers), so the socket's own."""
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        name = environ.get("SERVER_NAME", "")
        own = f"[{name}]:{environ.get('SERVER_PORT')}" if ":" in name else f"{name}:{environ.get('SERVER_PORT')}"
        return own if target.is_authority(own) else "localhost"
    raise BadHost("the Host header is missing")


def _headers(environ: Mapping[str, Any]) -> Headers:
    """The header fields of a server that only gives PEP 3333's keys: names in title case, repeated ones joined."""
    headers = [
        (key[5:].replace("_", "-").title(), value)
        for key, value in environ.items()
        if key.startswith("HTTP_") and isinstance(value, str)
    ]
    if environ.get("CONTENT_TYPE"):
        headers.append(("Content-Type", environ["CONTENT_TYPE"]))
    if environ.get("CONTENT_LENGTH"):
        headers.append(("Content-Length", environ["CONTENT_LENGTH"]))
    return headers


def _read_head(head: bytes) -> dict[str, Any]:
    """What of a refused head says who asked for what, as environ keys."""
    lines = head[:_MOST_READ].decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    sent = target.without_user(rest)  # whole: a cut could leave a password without its @
    environ = {"REQUEST_METHOD": method if _method(method) else "", "RAW_URI": sent.partition(" ")[0][:_MOST_TARGET]}
    for line in lines[1:-1]:  # the last may be cut off
        name, _, value = line.partition(":")
        key = _TOLD.get(name.lower())
        if key:
            environ[key] = f"{environ[key]},{value.strip()}" if key in environ else value.strip()
    return environ
