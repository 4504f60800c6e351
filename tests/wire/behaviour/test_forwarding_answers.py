"""What a client gets of a backend's answer."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator

import pytest

from tests.support import behaviours
from tests.support.backend import Behaviour, Call, FakeBackend
from tests.support.behaviours import Switched
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server

COOKIES = [("Set-Cookie", "a=1; Path=/; Expires=Wed, 21 Oct 2035 07:28:00 GMT"), ("Set-Cookie", "b=2, 3; HttpOnly")]
BIG = 5_000_000
PIECES = [b"one", b"two" * 50_000, b"three"]


@pytest.fixture(scope="module")
def answering() -> Switched:
    return Switched()


@pytest.fixture(scope="module")
def backend(answering: Switched) -> Iterator[FakeBackend]:
    with FakeBackend(answering) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    config = {
        "server": {"security_headers": {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}},
        "services": {"s": {"instances": [{"id": "a", "url": backend.url}], "breaker": None}},
        "routes": [{"id": "r", "path": "/*", "service": "s", "listeners": ["external", "internal"]}],
    }
    with server.serve(config) as started:
        yield started


def raw(head: str, body: bytes = b"", *, close: bool = False) -> Behaviour:
    return behaviours.raw(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body, close=close)


def values(headers: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name.lower()]


# --- heads ----------------------------------------------------------------------------------------------------------
def test_status_and_fields_are_passed_on(gateway: Gateway, answering: Switched):
    answering.behaviour = raw('HTTP/1.1 418 Short And Stout\nX-B: 1\nX-B: 3\nETag: W/"x"\nContent-Length: 3', b"tea")
    answer = gateway.get("/")
    assert (answer.status, answer.body, values(answer.headers, "X-B")) == (418, b"tea", ["1", "3"])
    assert answer.header("ETag") == 'W/"x"'


@pytest.mark.needs(Promise.SOCKET)
def test_the_reason_phrase_is_passed_on(gateway: Gateway, answering: Switched):
    answering.behaviour = raw("HTTP/1.1 418 Short And Stout\nContent-Length: 0")
    with gateway.connect() as wire:
        assert wire.get("/").start == "HTTP/1.1 418 Short And Stout"


def test_several_cookies_are_several_fields(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.answer(200, COOKIES)
    assert values(gateway.get("/").headers, "Set-Cookie") == [value for _, value in COOKIES]


def test_no_cookie_of_one_client_reaches_another(gateway: Gateway, answering: Switched, backend: FakeBackend):
    answering.behaviour = behaviours.answer(200, COOKIES)
    assert gateway.get("/login", headers={"Cookie": "own=1"}).status == 200
    for _ in range(8):
        assert gateway.get("/other-client").status == 200
    assert [one.value("Cookie") for one in backend.requests[-9:]] == ["own=1"] + [None] * 8


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(gateway: Gateway, answering: Switched, backend: FakeBackend, status: int):
    answering.behaviour = behaviours.answer(status, [("Location", f"{backend.url}/elsewhere")])
    answer = gateway.get("/from-here")
    assert (answer.status, answer.header("Location")) == (status, f"{backend.url}/elsewhere")
    assert backend.requests[-1].target == "/from-here"


def test_what_describes_the_backends_connection_is_dropped(gateway: Gateway, answering: Switched):
    head = (
        "HTTP/1.1 200 OK\nConnection: keep-alive, X-Hop\nX-Hop: 1\nKeep-Alive: timeout=9\nX-Kept: 1\nContent-Length: 2"
    )
    answering.behaviour = raw(f"{head}\nProxy-Authenticate: Basic\nUpgrade: h2c\nX-Accel-Redirect: /secret", b"ok")
    answer = gateway.get("/")
    assert answer.header("X-Kept") == "1"
    for name in ("X-Hop", "Keep-Alive", "Proxy-Authenticate", "Upgrade", "X-Accel-Redirect"):
        assert answer.header(name) is None, name


def test_the_backends_request_id_gives_way_to_the_gateways(gateway: Gateway, answering: Switched, backend: FakeBackend):
    answering.behaviour = behaviours.answer(200, [("X-Request-ID", "the-backends"), ("x-request-id", "again")])
    answer = gateway.get("/")
    assert values(answer.headers, "X-Request-ID") == [backend.requests[-1].value("X-Request-ID")]


def test_security_headers_are_added_to_external_answers_that_lack_them(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.answer(200, [("x-frame-options", "SAMEORIGIN")])
    answer = gateway.get("/")
    assert values(answer.headers, "X-Frame-Options") == ["SAMEORIGIN"]
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert gateway.get("/%00").header("X-Frame-Options") == "DENY"
    assert gateway.get("/", internal=True).header("X-Content-Type-Options") is None


def test_interim_answers_are_skipped(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.informational(behaviours.answer(200, (), b"final"))
    answer = gateway.get("/")
    assert (answer.status, answer.body, answer.header("Link")) == (200, b"final", None)


# --- bodies ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, BIG])
def test_a_body_of_known_length_arrives_whole(gateway: Gateway, answering: Switched, size: int):
    data = bytes(range(256)) * (size // 256 + 1)
    answering.behaviour = behaviours.answer(200, (), data[:size])
    answer = gateway.get("/")
    assert (answer.header("Content-Length"), answer.body == data[:size]) == (str(size), True)
    assert gateway.access_line(answer.header("X-Request-ID"))["bytes_out"] == size


@pytest.mark.parametrize("pieces", [[b"whole"], PIECES, []], ids=["at once", "long", "empty"])
def test_a_body_in_chunks_arrives_whole(gateway: Gateway, answering: Switched, pieces: list[bytes]):
    answering.behaviour = behaviours.chunked(pieces, trailers=[("X-Trailer", "1")])
    answer = gateway.get("/")
    assert (answer.status, hashlib.sha256(answer.body).digest()) == (200, hashlib.sha256(b"".join(pieces)).digest())
    assert gateway.access_line(answer.header("X-Request-ID"))["bytes_out"] == len(answer.body)


def test_a_body_that_ends_with_the_connection_arrives_whole(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.until_close(b"x" * 200_000)
    assert gateway.get("/").body == b"x" * 200_000


@pytest.mark.needs(Promise.SOCKET)
def test_an_http_1_0_client_gets_a_body_in_chunks_until_the_end_of_its_connection(
    gateway: Gateway, answering: Switched
):
    answering.behaviour = behaviours.chunked(PIECES)
    with gateway.connect() as wire:
        wire.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n")
        answer = wire.answer()
        assert (answer.body == b"".join(PIECES), answer.complete, answer.value("Transfer-Encoding")) == (
            True,
            True,
            None,
        )


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", ["", "\nContent-Length: 5", "\nTransfer-Encoding: chunked"])
@pytest.mark.needs(Promise.SOCKET)
def test_204_and_304_have_no_body(gateway: Gateway, answering: Switched, status: int, fields: str):
    answering.behaviour = raw(f"HTTP/1.1 {status} X\nETag: x{fields}")
    with gateway.connect() as wire:
        for _ in range(2):  # a body would be taken for the next answer
            answer = wire.get("/")
            assert (answer.status, answer.value("ETag"), answer.value("Transfer-Encoding")) == (status, "x", None)
            assert status != 204 or answer.value("Content-Length") is None


@pytest.mark.needs(Promise.SOCKET)
def test_the_answer_to_head_tells_a_length_and_has_no_body(gateway: Gateway, answering: Switched):
    answering.behaviour = raw("HTTP/1.1 200 OK\nContent-Length: 12345")
    with gateway.connect() as wire:
        for _ in range(2):
            assert wire.get("/", method="HEAD").value("Content-Length") == "12345"


def test_a_compressed_body_is_untouched(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.gzip(b"text" * 100_000)
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        answer = gateway.get("/", headers=headers)
        assert answer.header("Content-Encoding") == "gzip"
        assert gzip.decompress(answer.body) == b"text" * 100_000


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked", "Connection: close"])
def test_a_body_is_passed_on_while_it_comes(gateway: Gateway, answering: Switched, framing: str):
    """The backend sends a piece only when the client has the one before."""
    chunked = "chunked" in framing

    def behaviour(call: Call) -> None:
        call.request()
        call.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for number in range(3):
            eventually(lambda: arrived[0] == number * 3, every=0.005)  # noqa: B023
            call.send(b"3\r\nabc\r\n" if chunked else b"abc")
        if chunked:
            call.send(b"0\r\n\r\n")
        call.close()

    arrived = [-1]
    answering.behaviour = behaviour
    with gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.head()  # before the first byte of the body
        arrived[0] = 0
        for number in range(1, 4):
            eventually(lambda: wire.buf.count(b"abc") == number or wire._more() is None)  # noqa: B023
            arrived[0] = number * 3
