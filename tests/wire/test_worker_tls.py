"""TLS on a listener, against a real gunicorn with the worker class."""

from __future__ import annotations

import signal
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.support.certificates import Certificates, make
from tests.support.process import eventually
from tests.support.worker import WorkerProcess


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def files(certificates: Certificates, **more: str) -> dict[str, str]:
    return {"certificate": str(certificates.server), "key": str(certificates.server_key), **more}


@pytest.fixture(scope="module")
def worker(certificates: Certificates) -> Iterator[WorkerProcess]:
    with WorkerProcess(planes=("external", "internal"), tls={"external": files(certificates)}) as process:
        yield process


@pytest.fixture
def context(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.authority))


def test_requests_are_served_over_tls(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    with worker.connect(context=context) as wire:
        environ = wire.get("/environ").json()
        assert (environ["wsgi.url_scheme"], environ["gateway.plane"]) == ("https", "external")
        for _ in range(3):
            assert wire.get("/hello").body == b"hello"


def test_the_other_plane_stays_plain(worker: WorkerProcess) -> None:
    with worker.connect(1) as wire:
        assert wire.get("/environ").json()["wsgi.url_scheme"] == "http"


def test_bodies_pass_both_ways(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 350
    with worker.connect(context=context) as wire:
        for size in (-1, 1000):
            wire.send(
                f"POST /echo?size={size} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            assert wire.answer().body == body
        assert len(wire.get("/hello?size=3000000").body) == 3_000_000
        assert wire.get("/stream?pieces=4&size=200000").body[-1:] == b"d"


def test_requests_that_were_decrypted_together_are_all_answered(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    """More of them than are read at once, on more connections than threads: the socket itself has nothing to tell."""
    others = [worker.connect(context=context) for _ in range(8)]
    with worker.connect(context=context) as wire:
        wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n" * 1000)
        assert [wire.answer().body for _ in range(1000)] == [b"hello"] * 1000
    for other in others:
        other.sock.close()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x00"])
def test_half_a_handshake_holds_no_thread_and_ends_in_time(
    certificates: Certificates, context: ssl.SSLContext, said: bytes
) -> None:
    with WorkerProcess({"request_head_timeout": 3.0}, tls={"external": files(certificates)}) as worker:
        slow = [worker.connect() for _ in range(20)]
        began = time.monotonic()
        for wire in slow:
            wire.send(said)
        with worker.connect(context=context) as wire:
            assert wire.get("/hello").status == 200
        assert all(wire.silent(0) for wire in slow)
        for wire in slow:
            assert wire.ended() == "closed"
            wire.sock.close()
        assert 2.8 <= time.monotonic() - began < 15


def test_who_does_not_speak_tls_is_let_go(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
        wire._until_end()
        assert b"HTTP" not in wire.buf


def test_slow_heads_and_bodies_are_refused(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    for sent in ("GET /hello HTT", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"):
        with worker.connect(context=context) as wire:
            wire.send(sent)
            assert wire.answer().status == 408
            assert wire.ended() == "closed"


def test_a_client_that_does_not_read_is_let_go(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    path = "/stream?pieces=100&size=1000000"
    with worker.connect(context=context) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: [path] in worker.events("closed", 1), what="the body was closed")


def read_to_the_end(worker: WorkerProcess, context: ssl.SSLContext, path: str) -> bytes:
    """An answer up to its end, which raises when it is not announced: without close_notify it may be a cut."""
    with worker.connect_raw() as raw:
        raw.settimeout(10)
        with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            received = b""
            while data := sock.recv(65536):
                received += data
            return received


def test_a_complete_answer_ends_announced(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    assert read_to_the_end(worker, context, "/stream").endswith(b"aaaabbbbcccc")


def test_an_answer_that_breaks_off_does_not(worker: WorkerProcess, context: ssl.SSLContext) -> None:
    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
        read_to_the_end(worker, context, "/stream?fail=2")


@pytest.mark.parametrize(("auth", "shown", "served"), [
    ("none", False, True), ("optional", False, True), ("optional", True, True),
    ("required", False, False), ("required", True, True),
])  # fmt: skip
def test_a_clients_certificate_is_asked_for(
    certificates: Certificates, context: ssl.SSLContext, auth: str, shown: bool, served: bool
) -> None:
    tls = files(certificates, client_ca=str(certificates.authority), client_auth=auth)
    if shown:
        context.load_cert_chain(certificates.client, certificates.client_key)
    with WorkerProcess(tls={"external": tls}) as worker:
        try:
            with worker.connect(context=context) as wire:
                assert wire.get("/hello").status == 200
        except (OSError, EOFError):
            assert not served
        else:
            assert served


def test_connections_over_tls_are_finished_when_the_worker_leaves(
    certificates: Certificates, context: ssl.SSLContext
) -> None:
    with WorkerProcess(tls={"external": files(certificates)}) as worker, worker.connect(context=context) as wire:
        wire.send("GET /sleep?seconds=0.5 HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.1)
        worker.signal(signal.SIGTERM)
        heard = wire.answer()
        assert (heard.body, heard.value("Connection")) == (b"slept", "close")
        assert wire.ended() == "closed"
        assert worker.process.wait(15) == 0


def test_gunicorns_own_tls_settings_work_without_a_plan(certificates: Certificates, context: ssl.SSLContext) -> None:
    arguments = ("--certfile", str(certificates.server), "--keyfile", str(certificates.server_key))
    with WorkerProcess(alone=True, arguments=arguments) as worker, worker.connect(context=context) as wire:
        assert wire.get("/environ").json()["wsgi.url_scheme"] == "https"
