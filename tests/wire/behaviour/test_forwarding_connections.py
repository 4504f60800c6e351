"""Connections to backends: kept, replaced when stale; and answers that end too early or come too soon."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import behaviours
from tests.support.backend import Behaviour, Call, FakeBackend
from tests.support.behaviours import Switched
from tests.support.servers import Gateway, Promise, Server
from tests.support.worker import Wire


@pytest.fixture(scope="module")
def answering() -> Switched:
    return Switched()


@pytest.fixture(scope="module")
def backend(answering: Switched) -> Iterator[FakeBackend]:
    with FakeBackend(answering) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    service = {"instances": [{"id": "a", "url": backend.url}], "breaker": None}
    with server.serve({"services": {"s": service}, "routes": [{"id": "r", "path": "/*", "service": "s"}]}) as started:
        yield started


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n"


def bad_chunk_later(call: Call) -> None:
    call.request()
    call.send(CHUNKS)
    call.pause(0.1)  # else it comes with the head, and there is still time for a 502
    call.send(b"not a size\r\n")
    call.close()


# --- broken off -----------------------------------------------------------------------------------------------------
@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize(
    "behaviour, sent",
    [
        (behaviours.truncated(100, b"only ten b"), 10),
        (behaviours.truncated(1_000_000, b"x" * 500_000), 500_000),
        (behaviours.truncated(100, b"only ten b", rst=True), 10),
        (behaviours.raw(CHUNKS, close=True), 5),
        (behaviours.raw(CHUNKS + b"0\r\n", close=True), 5),
        (bad_chunk_later, 5),
    ],
    ids=["short", "long", "reset", "chunks", "last chunk", "bad chunk"],
)
def test_an_answer_that_the_backend_breaks_off_is_broken_off(
    gateway: Gateway, answering: Switched, behaviour: Behaviour, sent: int
):
    answering.behaviour = behaviour
    with gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = wire.answer()
        assert not answer.complete
        assert len(answer.body) <= sent
        line = gateway.access_line(answer.value("X-Request-ID"))
        assert (line["status"], line["reason"]) in [(200, "upstream_reset"), (200, "bad_answer")]
        assert line["bytes_out"] <= sent


# --- connections ----------------------------------------------------------------------------------------------------
def test_a_connection_to_the_backend_is_used_again(gateway: Gateway, answering: Switched, backend: FakeBackend):
    answering.behaviour = behaviours.echo
    for _ in range(4):  # each of two workers has one then
        gateway.get("/")
    before = backend.connections
    for _ in range(20):
        assert gateway.get("/").status == 200
    assert backend.connections <= before + 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_a_stale_connection_is_replaced_without_the_client_noticing(
    gateway: Gateway, answering: Switched, backend: FakeBackend, method: str
):
    # The backend closes behind each answer, without a word.
    answering.behaviour = behaviours.close_after(behaviours.answer(200))
    backend.requests.clear()
    for _ in range(20):
        assert gateway.request(method, "/", body=b"x" if method == "PUT" else None).status == 200
    assert len(backend.requests) == 20


@pytest.mark.parametrize(
    "unasked",
    [
        b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        b"more than the length told",
    ],
    ids=["408", "200", "excess"],
)
def test_what_a_backend_sends_unasked_is_nobodys_answer(gateway: Gateway, answering: Switched, unasked: bytes):
    sent = threading.Event()

    def behaviour(call: Call) -> None:
        call.request()
        call.answer(200, (), b"good")
        call.pause(0.02)  # behind the answer, when the connection is idle
        with contextlib.suppress(OSError):
            call.send(unasked)
        sent.set()

    answering.behaviour = behaviour
    for pause in (0.01, 0.05, 0.3):
        for _ in range(3):
            sent.clear()
            answer = gateway.get("/")
            assert (answer.status, answer.body) == (200, b"good")
            assert sent.wait(5)
            time.sleep(pause)


def test_connections_that_the_backend_drops_all_at_once_are_replaced(
    gateway: Gateway, answering: Switched, backend: FakeBackend
):
    answering.behaviour = behaviours.echo
    for _ in range(10):
        assert gateway.get("/").status == 200
        backend.drop_connections()


def test_a_post_is_never_sent_twice(gateway: Gateway, answering: Switched, backend: FakeBackend):
    answering.behaviour = behaviours.close
    backend.requests.clear()
    for _ in range(5):
        answer = gateway.request("POST", "/", body=b"x")
        assert (answer.status, answer.json()["reason"]) == (502, "upstream_reset")
    assert len(backend.requests) == 5


def test_a_get_that_is_not_answered_is_not_sent_for_ever(gateway: Gateway, answering: Switched, backend: FakeBackend):
    answering.behaviour = behaviours.echo
    gateway.get("/")
    answering.behaviour = behaviours.close
    backend.requests.clear()
    answer = gateway.get("/")
    assert (answer.status, answer.json()["reason"]) == (502, "upstream_reset")
    assert 2 <= len(backend.requests) <= 3  # two attempts, and a new connection in the place of a pooled one


@pytest.mark.needs(Promise.SOCKET)
def test_a_clients_connection_goes_on_behind_a_refusal(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.echo
    with gateway.connect() as wire:
        for _ in range(3):
            wire.send("POST /a/../b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde")
            assert wire.answer().status == 400
            assert wire.get("/next").json()["target"] == "/next"


@pytest.mark.needs(Promise.SOCKET)
def test_an_http_1_0_client_may_keep_its_connection(gateway: Gateway, answering: Switched):
    answering.behaviour = behaviours.echo
    with gateway.connect() as wire:
        for _ in range(2):
            wire.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
            answer = wire.answer()
            assert (answer.status, answer.value("Connection")) == (200, "keep-alive")
        wire.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n")
        assert (wire.answer().status, wire.ended()) == (200, "closed")


@pytest.mark.needs(Promise.SOCKET)
def test_a_gateway_that_keeps_no_connections_says_so_with_each_answer(server: Server):
    config = {
        "server": {"keepalive": "0s"},
        "services": {},
        "routes": [{"id": "r", "path": "/", "fixed_response": {"body": "x"}}],
    }
    with server.serve(config, workers=1) as gateway:
        for target in ("/", "/nowhere"):
            with gateway.connect() as wire:
                assert wire.get(target).value("Connection") == "close"
                assert wire.ended() == "closed"


@pytest.mark.parametrize("host, name", [("127.0.0.1", "localhost"), ("::1", "[::1]")])
def test_an_instance_may_be_at_a_name_or_an_ipv6_address(server: Server, host: str, name: str):
    config = {"services": {"s": {}}, "routes": [{"id": "r", "path": "/*", "service": "s", "preserve_host": False}]}
    with FakeBackend(behaviours.echo, host=host) as backend, server.serve(config, workers=1) as gateway:
        assert gateway.register("s", "one", f"http://{name}:{backend.port}").status == 204
        assert ["Host", f"{name}:{backend.port}"] in gateway.get("/").json()["headers"]


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("keep", [False, True])
def test_an_answer_that_comes_before_the_body_is_whole_reaches_the_client(
    gateway: Gateway, answering: Switched, keep: bool
):
    answering.behaviour = behaviours.early_answer(413, b"too much", keep=keep)
    with gateway.connect() as wire, ThreadPoolExecutor(1) as pool:
        wire.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n")
        sending = pool.submit(send_on, wire)
        answer = wire.answer()
        assert (answer.status, answer.body) == (413, b"too much")
        sending.result()


def send_on(wire: Wire) -> None:
    """Go on with an upload of 50 MB until the other side has enough."""
    with contextlib.suppress(OSError):
        for _ in range(500):
            wire.send(bytes(100_000))
