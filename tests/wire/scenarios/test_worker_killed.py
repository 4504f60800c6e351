"""A worker dies of SIGKILL under load: what it had in flight is lost, nothing else, and every count stays right."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Any

import pytest

from tests.support.load import Call, Load, Record
from tests.support.proc import connections
from tests.support.process import GatewayProcess
from tests.support.wire import eventually, request

from .conftest import Figures
from .scale import SCALE

CALLS = [
    Call("get", "/echo/get"),
    Call("post", "/echo/post", "POST", b"x" * 2_000),
    Call("slow", "/echo/slow?sleep=0.05"),
]
KILLS = 3


def instance(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    (found,) = gateway.get(f"/api/v1/services/{name}", internal=True).json()["instances"]
    return dict(found)


def breaker(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    return dict(gateway.get(f"/api/v1/breakers/{name}/one", internal=True).json())


def connections_of(worker: int, gateway: GatewayProcess) -> set[int]:
    """The ports of its clients."""
    return {peer for own, peer in connections(worker) if own == gateway.external_port}


class Killer:
    """Kills one worker and knows which client connections it had."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self.at: list[float] = []  # monotonic seconds
        self.clients: list[set[int]] = []  # their ports

    def kill(self) -> None:
        pid = self._gateway.worker_pids[0]
        os.kill(pid, signal.SIGSTOP)  # so that its connections are those that it dies with
        self.clients.append(connections_of(pid, self._gateway))
        self.at.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: pid not in (pids := self._gateway.worker_pids) and len(pids) == 2, what="another takes its place"
        )

    def explains(self, failure: Record) -> bool:
        """Whether the call was in flight in a worker as that was killed."""
        return any(
            failure.port in clients and failure.began <= at + 0.05 and failure.ended >= at
            for at, clients in zip(self.at, self.clients, strict=True)
        )


def fail(gateway: GatewayProcess, times: int) -> None:
    for _ in range(times):
        assert gateway.get("/failing/x?status=500").status == 500


@pytest.mark.load
def test_a_killed_worker_takes_only_its_own_requests_with_it(backends, figures: Figures) -> None:
    echo, failing, tripped = backends("echo", "failing", "tripped")
    services = {"echo": echo, "failing": failing, "tripped": tripped}
    config = {
        "logging": {"sample": "0%"},
        "services": {name: {"instances": [{"id": "one", "url": one.url}]} for name, one in services.items()},
        "routes": [{"id": name, "path": f"/{name}/*", "service": name} for name in services],
    }
    with GatewayProcess(config, workers=2) as gateway:
        fail(gateway, 3)
        for _ in range(5):
            assert gateway.get("/tripped/x?status=500").status == 500
        opened = breaker(gateway, "tripped")
        assert opened["state"] == "open"

        killer = Killer(gateway)
        with Load(gateway.external_port, CALLS, connections=32) as load:
            for _ in range(KILLS):
                time.sleep(SCALE.seconds / KILLS)
                killer.kill()
            time.sleep(SCALE.seconds / KILLS)
        report = load.report
        ended = time.monotonic()
        eventually(lambda: instance(gateway, "echo")["in_flight"] == 0, 5, what="nothing is in flight")
        settled = time.monotonic() - ended

        lost = len(report.failures)
        good = len(report.records) - lost
        arrived, counted = echo.total, instance(gateway, "echo")["requests"]
        figures(
            f"{KILLS} workers killed: {report}; the dead had {sum(map(len, killer.clients))} connections; "
            f"{good:,} answered, {arrived:,} arrived, {counted:,} counted; in flight 0 after {settled:.2f} s"
        )
        assert [one for one in report.failures if not killer.explains(one)] == []
        assert lost <= sum(map(len, killer.clients))
        assert good <= arrived <= counted <= good + lost
        assert settled < 1.5

        after = breaker(gateway, "tripped")
        assert {key: after[key] for key in opened} == opened
        assert request(gateway.external_port, "GET", "/tripped/x").status == 503
        assert tripped.total == 5
        assert breaker(gateway, "failing")["failures"] == 3
        fail(gateway, 2)
        assert breaker(gateway, "failing")["state"] == "open"
        assert gateway.get("/failing/x?status=500").status == 503
        assert failing.total == 5


def test_what_a_killed_worker_had_in_flight_is_gone_within_a_second(backends, figures: Figures) -> None:
    (backend,) = backends("echo")
    config = {
        "services": {"echo": {"instances": [{"id": "one", "url": backend.url}]}},
        "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
    }
    with GatewayProcess(config, workers=2) as gateway, contextlib.ExitStack() as stack:

        def begin() -> socket.socket:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.external_port), timeout=10))
            sock.sendall(b"GET /echo/slow?sleep=3 HTTP/1.1\r\nHost: h\r\n\r\n")
            return sock

        requests = [begin() for _ in range(8)]
        killed, spared = gateway.worker_pids
        while not (connections_of(killed, gateway) and connections_of(spared, gateway)):  # one may still be starting
            requests.append(begin())
            time.sleep(0.05)
        eventually(lambda: instance(gateway, "echo")["in_flight"] == len(requests), what="all of them are in flight")
        killer = Killer(gateway)
        killer.kill()
        (lost,) = killer.clients
        left = len(requests) - len(lost)
        eventually(lambda: instance(gateway, "echo")["in_flight"] == left, 2, what="the dead one's are gone")
        settled = time.monotonic() - killer.at[0]
        for sock in requests:
            if sock.getsockname()[1] not in lost:
                assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: instance(gateway, "echo")["in_flight"] == 0, 2)
    figures(f"killed with {len(lost)} of {len(requests)} requests in flight: out of the count after {settled:.2f} s")
    assert lost
    assert settled <= 1.5
