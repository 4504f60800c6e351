"""What a backend gets of a client's request."""

from __future__ import annotations

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.forwarding import Forwarding, content


@pytest.fixture
def forward():
    with Forwarding() as forwarding:
        yield forwarding


@pytest.fixture
def backend():
    with FakeBackend(behaviours.echo) as fake:
        yield fake


@pytest.mark.parametrize(
    "target",
    ["/", "/?", "/a?b=c&b=d", "/%61%2Fb%20c?x=%20+%zz", "/ü".encode().decode("latin-1"), "//a;b=1", "*", "/a?b?c#"],
)
def test_the_target_arrives_byte_for_byte(forward, backend, target):
    content(forward(backend.url, target=target))
    assert backend.requests[0].request_line == f"GET {target} HTTP/1.1"


def test_repeated_header_fields_arrive_in_order_and_as_spelled(forward, backend):
    sent = [
        ("x-b", "2"),
        ("X-A", "1"),
        ("X-B", "3"),
        ("Cookie", "a=1"),
        ("cookie", "b=2"),
        ("X-Latin", "\xe4"),
        ("X", ""),
    ]
    content(forward(backend.url, headers=[("Host", "api.example.com"), *sent]))
    assert backend.requests[0].headers[1 : len(sent) + 1] == sent


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE", "X-Y_z"]
)
def test_every_method_arrives(forward, backend, method):
    answer = forward(backend.url, method=method)
    assert (answer.status, content(answer) == b"") == (200, method == "HEAD")
    assert backend.requests[0].method == method


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "PURGE"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 1_000_000])
def test_a_body_arrives_whole_and_framed_as_it_came(forward, backend, method, chunked, size):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    if chunked and not size:
        body_arguments = {"body": _Input(b""), "chunked": True}
    else:
        body_arguments = {"body": body, "chunked": chunked}
    answer = forward(backend.url, method=method, **body_arguments)
    assert answer.status == 200
    content(answer)
    (request,) = backend.requests
    assert request.complete
    assert request.body == body
    assert request.values("Transfer-Encoding") == (["chunked"] if chunked else [])
    assert request.values("Content-Length") == ([] if chunked else [str(size)])


class _Input:
    """A chunked body as our server offers it: `read1`, and b"" at its end."""

    def __init__(self, *pieces):
        self._pieces = list(pieces)

    def read1(self, size):
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def read(self, size=-1):
        raise AssertionError("read1 is there")


@pytest.mark.parametrize("length", [None, 6])
def test_a_body_goes_on_as_it_comes(forward, backend, length):
    """The second piece is only made when the first one has arrived at the backend."""

    class Client(_Input):
        def read1(self, size):
            piece = super().read1(size)
            if piece == b"two":
                backend.wait_until(lambda: backend.requests and backend.requests[0].at)
            return piece

    headers = [("Host", "h"), *([("Content-Length", "6")] if length else [])]
    content(forward(backend.url, method="POST", headers=headers, body=Client(b"one", b"two"), chunked=not length))
    assert backend.requests[0].raw_body == (b"onetwo" if length else b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_an_empty_body_is_announced_as_it_was(forward, backend):
    content(forward(backend.url, method="POST", body=b""))
    content(forward(backend.url, method="POST"))
    assert [request.values("Content-Length") for request in backend.requests] == [["0"], []]


def test_what_connection_names_is_dropped(forward, backend):
    headers = [("Host", "h"), ("Connection", "close, X-Foo"), ("X-Foo", "1"), ("X-Bar", "2"), ("Upgrade", "websocket")]
    content(forward(backend.url, headers=headers))
    (request,) = backend.requests
    assert [request.values(name) for name in ("Connection", "X-Foo", "Upgrade", "X-Bar")] == [[], [], [], ["2"]]
    content(forward(backend.url))
    assert backend.connections == 1, "the client's Connection: close does not close the backend's connection"


def test_forwarded_and_identity_fields_of_a_client_are_gone_in_any_spelling(forward, backend):
    names = [
        "X-Forwarded-For",
        "x_forwarded_for",
        "X.Forwarded.Proto",
        "X-Real-IP",
        "X-Gateway-Subject",
        "X_GATEWAY_SCOPES",
    ]
    names += ["Forwarded", "X-Request-ID", "x_request_id", "X-Original-URL", "X-Rewrite-URL", "X_HTTP_Method_Override"]
    content(forward(backend.url, headers=[("Host", "h"), *((name, "evil") for name in names)], peer="198.51.100.1"))
    (request,) = backend.requests
    assert "evil" not in request.head.decode()
    assert request.value("X-Forwarded-For") == "198.51.100.1"
    assert request.value("X-Forwarded-Host") == "h"
    assert request.value("X-Request-ID").startswith("request-")
    assert request.value("Via") == "1.1 gateway-under-test"


def test_expect_is_the_servers_business(forward, backend):
    content(forward(backend.url, method="POST", headers=[("Host", "h"), ("Expect", "100-continue")], body=b"hello"))
    assert backend.requests[0].values("Expect") == []


def test_connections_are_reused_and_no_cookie_of_one_client_reaches_another(forward):
    with FakeBackend(behaviours.answer(200, [("Set-Cookie", "session=secret; Path=/")])) as backend:
        for _ in range(3):
            assert ("Set-Cookie", "session=secret; Path=/") in forward(backend.url).headers
        assert backend.connections == 1
        assert [request.values("Cookie") for request in backend.requests] == [[], [], []]
