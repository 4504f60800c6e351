"""One health probe against backends that are well, ill, and malicious."""

from __future__ import annotations

import ssl
import time
from dataclasses import replace

import pytest

from gateway.config.model import ActiveHealth, UpstreamTls
from gateway.errors import PoolExhausted
from gateway.forward.probing import Probing
from tests.support import behaviours, certificates
from tests.support.backend import FakeBackend, refusing_address, silent_address
from tests.support.forwarding import Forwarding, Instance

SETTINGS = ActiveHealth(timeout=5.0)
SHORT = ActiveHealth(timeout=0.3)


@pytest.fixture
def forward():
    with Forwarding() as forwarding:
        yield forwarding


def probe(forward, url, settings=SETTINGS, **changes):
    """The finding in words."""
    return str(Probing(forward.sessions)(Instance(url), forward.settings, replace(settings, **changes)))


def test_what_is_sent(forward):
    with FakeBackend(behaviours.answer(204, body=b"")) as backend:
        assert probe(forward, backend.url) == "good"
        assert probe(forward, backend.url, path="/up?x=1", host="api.example.com") == "good"
        one, other = backend.wait_for_requests(2)
        assert (one.method, one.target) == ("GET", "/health")
        assert one.headers == [
            ("Host", backend.address), ("User-Agent", "gateway-health"), ("Accept", "*/*"), ("Connection", "close"),
        ]  # fmt: skip
        assert (other.target, other.headers[0]) == ("/up?x=1", ("Host", "api.example.com"))
        assert backend.connections == 2
        backend.wait_until(lambda: not backend._sockets)


@pytest.mark.parametrize(
    ("status", "expect", "found"),
    [
        (200, ("200-399",), "good"), (302, ("200-399",), "good"), (404, ("200-399",), "status 404"),
        (503, (200,), "status 503"), (204, ("200,204",), "good"), (201, (200, 204), "status 201"),
    ],
)  # fmt: skip
def test_which_statuses_are_good(forward, status, expect, found):
    with FakeBackend(behaviours.answer(status, [("Location", "/elsewhere")], b"")) as backend:
        assert probe(forward, backend.url, expect=expect) == found
        assert len(backend.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "found"),
    [
        (behaviours.answer(body=b"all is READY here"), "good"),
        (behaviours.answer(body=b"ready"), "body mismatch"),
        (behaviours.chunked([b"REA", b"DY"]), "good"),
        (behaviours.chunked([b"REA", b"D"]), "body mismatch"),
        (behaviours.until_close(b"READY"), "good"),
        (behaviours.until_close(b"not yet"), "body mismatch"),
        (behaviours.answer(body=b"x" * 65531 + b"READY"), "good"),
        (behaviours.answer(body=b"x" * 65532 + b"READY"), "body mismatch"),
        (behaviours.answer(503, body=b"READY"), "status 503"),
    ],
)
def test_what_the_body_must_hold(forward, behaviour, found):
    with FakeBackend(behaviour) as backend:
        assert probe(forward, backend.url, body="READY") == found


@pytest.mark.parametrize(
    "behaviour",
    [
        behaviours.hang,
        behaviours.dribble(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 500, 0.05),
        behaviours.dribble(b"x" * 500, 0.05, at_once=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    ],
)
def test_the_limit_is_absolute(forward, behaviour):
    with FakeBackend(behaviour) as backend:
        began = time.monotonic()
        assert probe(forward, backend.url, SHORT, body="READY") == "timed out"
        assert 0.25 < time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("behaviour", "found"),
    [
        (behaviours.reset, "connection reset"),
        (behaviours.close, "connection reset"),
        (behaviours.garbage, "bad answer"),
    ],
)
def test_what_is_no_answer(forward, behaviour, found):
    with FakeBackend(behaviour) as backend:
        assert probe(forward, backend.url) == found


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_who_cannot_be_reached(forward, kind):
    with refusing_address() as (host, port):
        assert probe(forward, f"http://{host}:{port}", type=kind) == "refused"
    with silent_address() as (host, port):
        assert probe(forward, f"http://{host}:{port}", SHORT, type=kind) == "timed out"


def test_a_name_that_does_not_resolve():
    def nowhere(host):
        raise OSError("no such name")

    with Forwarding(lookup=nowhere) as forward:
        assert probe(forward, "http://nowhere.test:1") == "name unresolved"


def test_an_address_that_is_not_allowed():
    with FakeBackend(behaviours.echo) as backend, Forwarding(rule=lambda *_: "not there") as forward:
        assert probe(forward, backend.url) == "address refused"
        assert backend.connections == 0


def test_a_tcp_probe_only_connects(forward):
    with FakeBackend(behaviours.hang) as backend:
        assert probe(forward, backend.url, type="tcp") == "good"
        backend.wait_until(lambda: backend.connections == 1 and not backend._sockets)
        assert not backend.requests


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_tls_is_part_of_it(tmp_path, kind):
    made = certificates.make(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.server, made.server_key)
    with FakeBackend(behaviours.echo, tls=context) as backend:
        with Forwarding(tls=UpstreamTls(ca=made.authority)) as trusting:
            assert probe(trusting, backend.url, type=kind) == "good"
        with Forwarding() as suspicious:
            assert probe(suspicious, backend.url, type=kind) == "tls failed"


def test_a_full_pool_is_none_of_its_business():
    with FakeBackend(behaviours.echo) as backend, Forwarding(pool=1) as forward:
        assert forward.pool(backend.url).reserve()
        assert probe(forward, backend.url, SHORT) == "good"


def test_a_gateway_without_sockets_learns_nothing(forward, monkeypatch):
    adapter = forward.sessions.of(Instance("http://127.0.0.1:1"), forward.settings).adapter

    def none_left(timeouts, deadline):
        raise PoolExhausted("no socket left")

    monkeypatch.setattr(adapter, "connect", none_left)
    assert Probing(forward.sessions)(Instance("http://127.0.0.1:1"), forward.settings, SETTINGS) is None
