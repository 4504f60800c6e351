"""A backend that answers while the client uploads: nobody waits for the other, and both bodies go their way."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import Behaviour, Call, FakeBackend
from tests.support.servers import Promise, Server

CONFIG = {
    "server": {"client_idle": "30s"},
    "routes": [{"id": "r", "path": "/*", "service": "s"}],
}
FRAMINGS = {
    "length": "Content-Length: 1000000\r\n\r\n0123456789",
    "chunks": "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
    "continue": "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
}
LARGE = random.Random(1).randbytes(8 * 2**20)


def to(backend: FakeBackend, **settings: Any) -> dict[str, Any]:
    return {**CONFIG, "services": {"s": {"instances": [{"id": "a", "url": backend.url}], **settings}}}


# --- a client that has paused
@pytest.mark.needs(Promise.CLIENT_DEADLINES)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("keep", [False, True])
def test_an_answer_reaches_a_client_that_has_paused_its_upload(server: Server, framing: str, keep: bool):
    with FakeBackend(behaviours.early_answer(413, b"too much", keep=keep)) as backend:
        config = to(backend)
        with server.serve(config, workers=1) as gateway, gateway.connect() as wire:
            wire.send(f"POST / HTTP/1.1\r\nHost: h\r\n{FRAMINGS[framing]}")
            if framing == "continue":
                assert wire.answer().status == 100
            answer = wire.answer()
            assert (answer.status, answer.body) == (413, b"too much")


@pytest.mark.needs(Promise.CLIENT_DEADLINES)
def test_a_backend_that_leaves_a_paused_upload_is_told_at_once(server: Server):
    def behaviour(call: Call) -> None:
        call.head()
        call.close()

    with FakeBackend(behaviour) as backend:
        config = to(backend)
        with server.serve(config, workers=1) as gateway, gateway.connect() as wire:
            wire.send(f"POST / HTTP/1.1\r\nHost: h\r\n{FRAMINGS['length']}")
            answer = wire.answer()
            assert (answer.status, answer.json()["reason"]) == (502, "upstream_reset")


# --- both bodies at once
@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_an_upload_goes_on_when_the_answer_has_begun(server: Server, chunked: bool):
    with FakeBackend(behaviours.beside) as backend:
        with server.serve(to(backend), workers=1) as gateway, gateway.connect() as wire:
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(LARGE)}"
            wire.send(f"PUT / HTTP/1.1\r\nHost: h\r\nX-Request-ID: whole\r\n{framing}\r\n\r\n")
            wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE) if chunked else LARGE)
            answer = wire.answer()
            assert (answer.status, answer.body, answer.complete) == (200, b"begindone", True)
            line = gateway.access_line("whole")
            assert (line["reason"], line["bytes_in"], line["bytes_out"]) == (None, len(LARGE), 9)
        assert backend.requests[0].complete
        assert backend.requests[0].sha256 == hashlib.sha256(LARGE).hexdigest()


@pytest.mark.needs(Promise.BOTH_WAYS)
@pytest.mark.parametrize("apart", [False, True])
def test_a_client_may_wait_for_the_echo_of_each_chunk(server: Server, apart: bool):
    """apart: the end of the chunk comes on its own, before the echo."""
    with FakeBackend(partial(behaviours.echo_chunks, pause=0.05 * apart)) as backend:
        with server.serve(to(backend), workers=1) as gateway, gateway.connect() as wire:
            for round_ in range(2):  # both connections go on
                wire.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                for number in range(20):
                    data = b"%d" % number * 1000
                    wire.send(b"%x\r\n%b" % (len(data), data))
                    if apart:
                        time.sleep(0.02)
                    wire.send("\r\n")
                    if not number:
                        assert wire.head()[0] == "HTTP/1.1 200 OK"
                    assert wire.chunk() == data
                wire.send("0\r\n\r\n")
                assert wire.chunk() == b""
                assert backend.requests[round_].complete
        assert backend.connections == 1


@pytest.mark.needs(Promise.SOCKET)
def test_a_backend_may_send_and_take_much_at_once(server: Server):
    with FakeBackend(behaviours.echo_chunks) as backend, ThreadPoolExecutor(1) as pool:
        config = to(backend)
        with server.serve(config, workers=1) as gateway, gateway.connect() as wire:
            wire.send(f"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {len(LARGE)}\r\n\r\n")
            sending = pool.submit(wire.sock.sendall, LARGE)
            answer = wire.answer()
            sending.result()
            assert answer.complete
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(LARGE).digest()


# --- an upload that ends before its end
@pytest.mark.needs(Promise.BOTH_WAYS)
@pytest.mark.parametrize("status", [302, 403, 500])
def test_an_answer_that_refuses_an_upload_stops_it_at_once(server: Server, status: int):
    """Although it is not yet whole itself."""
    more: list[bytes] = []
    quiet = threading.Event()

    def behaviour(call: Call) -> None:
        call.some(1000)
        call.send(f"HTTP/1.1 {status} No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n".encode())
        call.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            more.append(call.sock.recv(65536))
        quiet.set()
        call.send(b"0\r\n\r\n")
        call.until_ended()

    with FakeBackend(behaviour) as backend, ThreadPoolExecutor(1) as pool:
        config = to(backend, retries={"attempts": 1})
        with server.serve(config, workers=1) as gateway, gateway.connect() as wire:
            wire.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n" + "x" * 1000)
            start, _ = wire.head()
            assert (start.split()[1], wire.chunk()) == (str(status), b"no")
            pool.submit(send_all, wire.sock, 1_000_000)
            assert quiet.wait(10)
            assert (wire.chunk(), more) == (b"", [])
        assert not backend.requests[0].complete


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("close", [False, True])
def test_an_answer_that_is_complete_before_the_upload_stops_it(server: Server, close: bool):
    def behaviour(call: Call) -> None:
        call.some(1000)
        call.send(
            f"HTTP/1.1 200 OK\r\n{'Connection: close' if close else 'X-A: b'}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".encode()
        )
        call.some(500_000)
        call.send(b"6\r\nenough\r\n0\r\n\r\n")
        call.until_ended()

    with FakeBackend(behaviour) as backend, ThreadPoolExecutor(1) as pool:
        with server.serve(to(backend), workers=1) as gateway, gateway.connect() as wire:
            wire.send("PUT / HTTP/1.1\r\nHost: h\r\nX-Request-ID: half\r\nContent-Length: 50000000\r\n\r\n")
            sending = pool.submit(send_all, wire.sock, 50_000_000)
            answer = wire.answer()
            assert (answer.status, answer.body, answer.complete) == (200, b"halfenough", True)
            assert 500_000 <= gateway.access_line("half")["bytes_in"] < 50_000_000
            backend.wait_until(lambda: not backend.open_connections)
            sending.result()
            backend.behaviour = behaviours.echo
            assert gateway.get("/").json()["connection"] == 1
        assert not backend.requests[0].complete


def send_all(sock: socket.socket, size: int) -> bool:
    try:
        sock.sendall(bytes(size))
    except OSError:
        return False
    return True


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("counted", [False, True], ids=["chunked answer", "counted answer"])
def test_a_client_that_breaks_off_beside_its_answer_leaves_two_broken_bodies(
    server: Server, chunked: bool, counted: bool
):
    def behaviour(call: Call) -> None:
        call.head()
        framing = b"Content-Length: 9\r\n\r\nbegin" if counted else b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"
        call.send(b"HTTP/1.1 200 OK\r\n" + framing)
        call.request()
        call.send(b"done" if counted else b"4\r\ndone\r\n0\r\n\r\n")

    with FakeBackend(behaviour) as backend:
        with server.serve(to(backend), workers=1) as gateway, gateway.connect() as wire:
            framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 50000000"
            wire.send(f"PUT / HTTP/1.1\r\nHost: h\r\nX-Request-ID: off\r\n{framing}\r\n\r\n")
            while wire.silent(0.05):  # until the answer begins
                wire.send(b"186a0\r\n%b\r\n" % bytes(100_000) if chunked else bytes(100_000))
            wire.sock.shutdown(socket.SHUT_WR)
            answer = wire.answer()
            assert (answer.status, answer.body, answer.complete) == (200, b"begin", False)
            assert gateway.access_line("off")["reason"] == "client_gone"
        assert not backend.wait_for_requests(1)[0].complete


# --- whose time it is
def broken_by(server: Server, behaviour: Behaviour, upload: bytes, *, idle: str, upstream: str) -> dict[str, Any]:
    """The access line of an early answer that breaks off."""
    with FakeBackend(behaviour) as backend:
        config = to(backend, timeouts={"upstream": upstream}) | {"server": {"client_idle": idle}}
        with server.serve(config, workers=1) as gateway, gateway.connect() as wire:
            head = f"PUT / HTTP/1.1\r\nHost: h\r\nX-Request-ID: late\r\nContent-Length: {len(LARGE)}\r\n\r\n"
            with ThreadPoolExecutor(1) as pool:
                pool.submit(wire.sock.sendall, head.encode() + upload)
                answer = wire.answer()
            assert (answer.status, answer.body, answer.complete) == (200, b"begin", False)
            return gateway.access_line("late")


@pytest.mark.needs(Promise.CLIENT_DEADLINES)
def test_a_client_that_pauses_beside_its_answer_has_its_own_time(server: Server):
    line = broken_by(server, behaviours.beside, LARGE[:100_000], idle="1.2s", upstream="300ms")
    assert (line["reason"], line["bytes_in"]) == ("client_timeout", 100_000)
    assert line["duration_ms"] > 1100


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("size", [len(LARGE) - 1, len(LARGE)], ids=["reads nothing", "says nothing"])
def test_a_backend_that_stands_still_beside_its_answer_has_its_own(server: Server, size: int):
    def behaviour(call: Call) -> None:
        call.head()
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        if size == len(LARGE):
            call.request()
        call.pause(30)

    line = broken_by(server, behaviour, LARGE[:size], idle="20s", upstream="600ms")
    assert line["reason"] == "upstream_timeout"
    assert line["duration_ms"] > 500
