"""What a backend gets of a client's request body: all of it as it comes, or never a whole one."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
from collections.abc import Iterator

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend, Received
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.echo) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    config = {
        "server": {"max_request_body": "10MiB"},
        "services": {"s": {"instances": [{"id": "a", "url": backend.url}]}},
        "routes": [
            {"id": "r", "path": "/*", "service": "s"},
            {"id": "little", "path": "/little", "service": "s", "max_request_body": "100KiB"},
            {"id": "much", "path": "/much", "service": "s", "max_request_body": "20MiB"},
        ],
    }
    with server.serve(config) as started:
        yield started


@pytest.fixture
def received(backend: FakeBackend) -> Iterator[list[Received]]:
    """What arrived during this test."""
    backend.requests.clear()
    yield backend.requests


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_arrives_whole(gateway: Gateway, received: list[Received], size: int, chunked: bool):
    data = random.Random(size).randbytes(size)
    pieces = [data[at : at + 50_000] for at in range(0, size, 50_000)]
    answer = gateway.request("POST", "/b", body=pieces if chunked else data)
    assert answer.status == 200
    request = received[0]
    assert (request.length, request.complete) == (size, True)
    assert request.sha256 == hashlib.sha256(data).hexdigest()
    framing = (request.values("Content-Length"), request.values("Transfer-Encoding"))
    assert framing == (([], ["chunked"]) if chunked else ([str(size)], []))
    assert gateway.access_line(answer.header("X-Request-ID"))["bytes_in"] == size


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("path, size, allowed", [
    ("/little", 102_400, True), ("/little", 102_401, False), ("/x", 10 * 2**20, True), ("/x", 10 * 2**20 + 1, False),
    ("/much", 10 * 2**20 + 1, True),
])  # fmt: skip
def test_a_route_may_allow_less_or_more_of_a_body_than_the_server(
    gateway: Gateway, backend: FakeBackend, received: list[Received], path: str, size: int, allowed: bool, chunked: bool
):
    headers = {"X-Request-ID": f"limit-{path[1:]}-{size}-{chunked}"}
    with contextlib.suppress(OSError):  # who is refused may find out while it sends
        gateway.request("POST", path, headers=headers, body=[bytes(size)] if chunked else bytes(size))
    line = gateway.access_line(headers["X-Request-ID"])
    assert (line["status"], line["reason"]) == ((200, None) if allowed else (413, "body_too_large"))
    backend.wait_until(lambda: all(one.ended for one in received))
    assert [one.complete for one in received] in ([[True]] if allowed else [[], [False]])


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "BREW"])
def test_any_method_may_have_a_body(gateway: Gateway, received: list[Received], method: str):
    assert gateway.request(method, "/b", body=b"a body").status == 200
    assert (received[0].method, received[0].body, received[0].complete) == (method, b"a body", True)


def test_a_request_without_a_body_has_no_length(gateway: Gateway, received: list[Received]):
    assert gateway.get("/b").status == 200
    assert received[0].values("Content-Length") == received[0].values("Transfer-Encoding") == []


@pytest.mark.needs(Promise.SOCKET)
def test_a_body_is_passed_on_while_it_comes(gateway: Gateway, backend: FakeBackend, received: list[Received]):
    with gateway.connect() as wire:
        wire.send("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        size = 128 * 1024
        for number in range(1, 4):
            wire.send(b"%x\r\n%b\r\n" % (size, bytes(size)))
            eventually(lambda: received and received[0].length == size * number)  # noqa: B023
        assert received[0].ended is None
        wire.send("0\r\n\r\n")
        assert wire.answer().status == 200


@pytest.mark.needs(Promise.SOCKET)
def test_a_client_that_waits_for_100_is_told_to_go_on(gateway: Gateway, received: list[Received]):
    with gateway.connect() as wire:
        wire.send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer().status == 100
        wire.send("body")
        assert wire.answer().status == 200
    assert (received[0].body, received[0].value("Expect")) == (b"body", None)


@pytest.mark.needs(Promise.OWN_REFUSALS)
def test_a_request_that_is_refused_is_not_told_to_go_on(gateway: Gateway, received: list[Received]):
    with gateway.connect() as wire:
        wire.send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer().status == 413
    assert received == []


@pytest.mark.needs(Promise.SOCKET)
def test_requests_of_one_connection_do_not_mix(gateway: Gateway, received: list[Received]):
    with gateway.connect() as wire:
        wire.send(
            "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
            "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\ndef\r\n0\r\nX-Trailer: 1\r\n\r\n"
            "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        assert [wire.answer().json()["target"] for _ in range(3)] == ["/1", "/2", "/3"]
    assert [(one.target, one.body, one.raw_body) for one in received] == [
        ("/1", b"abc", b"abc"), ("/2", b"def", b"3\r\ndef\r\n0\r\n\r\n"), ("/3", b"", b""),
    ]  # fmt: skip


# --- a client that breaks off ---------------------------------------------------------------------------------------
@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize(
    "head, sent",
    [
        ("Content-Length: 50", b"7 bytes"),
        ("Content-Length: 200000", b"x" * 100_000),
        ("Transfer-Encoding: chunked", b"5\r\nwhole\r\n"),
        ("Transfer-Encoding: chunked", b"186a0\r\n" + b"x" * 100_000 + b"\r\n186a0\r\nxxx"),
    ],
    ids=["short", "long", "chunks", "long chunks"],
)
def test_an_upload_that_is_broken_off_never_becomes_a_complete_request(
    gateway: Gateway, backend: FakeBackend, received: list[Received], head: str, sent: bytes
):
    with gateway.connect() as wire:
        wire.send(
            f"POST /broken HTTP/1.1\r\nHost: h\r\nX-Request-ID: broken-{len(sent)}\r\n{head}\r\n\r\n".encode() + sent
        )
    line = gateway.access_line(f"broken-{len(sent)}")
    assert (line["reason"], line["bytes_in"] <= len(sent)) == ("client_gone", True)
    backend.wait_until(lambda: all(one.ended for one in received))
    assert not any(one.complete for one in received)


@pytest.mark.needs(Promise.SOCKET, Promise.OWN_REFUSALS)
@pytest.mark.parametrize(
    "sent", ["Content-Length: 50\r\n\r\n7 bytes", "Transfer-Encoding: chunked\r\n\r\n32\r\n7 bytes"]
)
def test_a_client_that_ends_within_its_body_is_told_nothing(
    gateway: Gateway, backend: FakeBackend, received: list[Received], sent: str
):
    with gateway.connect() as wire:
        wire.send(f"POST /broken HTTP/1.1\r\nHost: h\r\nX-Request-ID: ended-{len(sent)}\r\n{sent}")
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.ended() == "closed"
    line = gateway.access_line(f"ended-{len(sent)}")
    assert (line["status"], line["reason"], line["bytes_in"]) == (499, "client_gone", 7)
    backend.wait_until(lambda: all(one.ended for one in received))


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("rest", ["zz\r\n", "-1\r\n", "5\r\nwhole!\r\n0\r\n\r\n", "0x5\r\nwhole\r\n0\r\n\r\n"])
def test_a_body_whose_chunks_are_none_never_becomes_a_complete_request(
    gateway: Gateway, backend: FakeBackend, received: list[Received], rest: str
):
    with gateway.connect() as wire:
        wire.send(f"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n{rest}")
        answer = wire.answer()
        assert (answer.status, answer.json()["reason"]) == (400, "malformed_request")
    backend.wait_until(lambda: all(one.ended for one in received))
    assert not any(one.complete for one in received)
