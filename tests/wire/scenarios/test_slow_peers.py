"""Clients and backends that take their time hold nobody else up, and no thread for longer than configured."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.load import Call, run
from tests.support.process import GatewayProcess
from tests.support.wire import eventually, request

from .conftest import Figures
from .scale import MIB, SCALE

GOOD = [Call("get", "/echo/get"), Call("post", "/echo/post", "POST", b"x" * 500)]


def config(url: str, **more: object) -> dict[str, object]:
    return {
        "logging": {"sample": "0%"},
        "services": {"echo": {"instances": [{"id": "one", "url": url}]}},
        "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
        **more,
    }


@contextlib.contextmanager
def dribbling(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Clients that send a head that never ends, a byte now and then; one that was let go comes again."""
    stop = threading.Event()
    clients: list[socket.socket] = []

    def connect() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        sock.sendall(b"GET /echo/slow HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        return sock

    def dribble() -> None:
        while not stop.is_set():
            for at, sock in enumerate(clients):
                try:
                    sock.send(b"a")
                except OSError:
                    sock.close()
                    clients[at] = connect()
                if stop.wait(0.002):
                    return

    clients += [connect() for _ in range(count)]
    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        yield clients
    finally:
        stop.set()
        thread.join()
        for sock in clients:
            sock.close()


@pytest.mark.load
def test_five_hundred_clients_that_dribble_a_head_do_not_slow_the_good_ones(backends, figures: Figures) -> None:
    (backend,) = backends("echo")
    with (
        GatewayProcess(config(backend.url, server={"request_head_timeout": "2s"}), workers=2) as gateway,
        dribbling(gateway.external_port, 500),
    ):
        report = run(gateway.external_port, GOOD, SCALE.seconds + 2, connections=32)
    figures(f"500 clients dribble, 32 are good: {report}")
    assert report.failures == [], report.errors.most_common(5)
    assert report.latency(0.99) < 0.25


@pytest.mark.load
def test_two_hundred_busy_connections_share_thirty_two_threads(backends, figures: Figures) -> None:
    (backend,) = backends("echo")
    with GatewayProcess(config(backend.url), workers=1) as gateway:
        report = run(gateway.external_port, GOOD, SCALE.seconds, connections=200)
    figures(f"200 connections, one worker with 32 threads: {report}")
    assert report.failures == [], report.errors.most_common(5)
    assert report.connections == 200
    assert report.latency(1.0) < 1.0


def stops_reading(port: int) -> socket.socket:
    """Asks for more than fits into any buffer on the way, and reads none of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET /echo/x?size={64 * MIB} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    return sock


def stops_sending(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(b"POST /echo/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
    return sock


@pytest.mark.load
@pytest.mark.parametrize("stuck", [stops_reading, stops_sending])
def test_clients_that_stop_are_let_go_and_their_threads_are_free(
    stuck: Callable[[int], socket.socket], backends, figures: Figures
) -> None:
    idle, threads, clients = 1.0, 4, 8
    (backend,) = backends("echo")
    server = {"threads": threads, "client_idle": f"{idle}s", "backlog_wait": "20s"}
    with GatewayProcess(config(backend.url, server=server), workers=1) as gateway:
        began = time.monotonic()
        sockets = [stuck(gateway.external_port) for _ in range(clients)]
        backend.wait_for(threads) if stuck is stops_reading else time.sleep(0.2)
        # Behind eight clients that take four threads for a second each, twice.
        first = request(gateway.external_port, "GET", "/echo/first", timeout=20)
        waited = time.monotonic() - began
        report = run(gateway.external_port, GOOD, 1.0, connections=threads)
        (instance,) = gateway.get("/api/v1/services/echo", internal=True).json()["instances"]
        for sock in sockets:
            sock.close()
    figures(f"{clients} clients on {threads} threads ({stuck.__name__}): free after {waited:.2f} s, then {report}")
    assert first.status == 200
    assert waited < clients / threads * idle + 1.0
    assert report.failures == [], report.errors.most_common(5)
    assert report.latency(1.0) < idle
    assert instance["in_flight"] == 0


@pytest.mark.load
def test_a_backend_that_dribbles_its_head_is_a_504_in_time_and_the_thread_is_free(backends, figures: Figures) -> None:
    limit, threads = 0.6, 4
    (backend,) = backends("echo")
    timeouts = {"timeouts": {"upstream": f"{limit}s"}}
    settings = config(backend.url, server={"threads": threads, "backlog_wait": "20s"}, defaults=timeouts)
    settings["services"] = {"echo": {"instances": [{"id": "one", "url": backend.url}], "breaker": None}}
    slow = [Call("slow", "/echo/x?dribble=0.01", status=504, answer=b"*")]
    with GatewayProcess(settings, workers=1) as gateway:
        late = run(gateway.external_port, slow, SCALE.seconds, connections=threads)
        report = run(gateway.external_port, GOOD, 1.0, connections=threads)
        eventually(lambda: gateway.get("/echo/x").status == 200)
    figures(
        f"backend dribbles, limit {limit * 1000:.0f} ms: 504 after p50 {late.latency(0.5) * 1000:.0f} ms, "
        f"slowest {late.latency(1.0) * 1000:.0f} ms; then {report}"
    )
    assert late.failures == [], late.errors.most_common(5)
    assert limit <= min(record.latency for record in late.records)
    assert late.latency(1.0) <= limit + 0.2
    assert report.failures == [], report.errors.most_common(5)
