"""What a reload does to the connections that clients keep, with a real master and real workers."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.process import BARE, GatewayProcess
from tests.support.wire import eventually
from tests.support.worker import Wire


def config(*routes: str) -> dict[str, Any]:
    fixed = {"status": 200}
    return {"services": {}, "routes": [{"id": one, "path": f"/{one}", "fixed_response": fixed} for one in routes]}


@pytest.fixture
def gateway() -> Iterator[GatewayProcess]:
    with GatewayProcess(config("a"), workers=2, command=BARE) as process:
        yield process


@contextlib.contextmanager
def connections(port: int, count: int) -> Iterator[list[Wire]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(Wire(socket.create_connection(("127.0.0.1", port), timeout=10))) for _ in range(count)
        ]


def test_a_kept_connection_goes_on_and_sees_the_edit(gateway: GatewayProcess) -> None:
    with connections(gateway.external_port, 20) as wires:
        assert all(wire.get("/").json()["routes"] == ["a"] for wire in wires)
        before = gateway.worker_pids
        gateway.reload(config("a", "b"))
        for _ in range(2):
            answers = [wire.get("/") for wire in wires]
            assert all(answer.json()["routes"] == ["a", "b"] for answer in answers)
            assert all(answer.value("Connection") is None for answer in answers)
        assert {answer.json()["pid"] for answer in answers} == set(gateway.worker_pids) - set(before)


def test_it_stays_on_its_listener(gateway: GatewayProcess) -> None:
    with connections(gateway.internal_port, 4) as internal, connections(gateway.external_port, 4) as external:
        gateway.reload()
        assert {wire.get("/").json()["plane"] for wire in internal} == {"internal"}
        assert {wire.get("/").json()["plane"] for wire in external} == {"external"}


def test_kept_connections_do_not_hold_old_workers_up(gateway: GatewayProcess) -> None:
    with connections(gateway.external_port, 8) as wires:
        for wire in wires:
            wire.get("/")
        old = set(gateway.worker_pids)
        gateway.reload()
        eventually(lambda: not old & set(gateway.worker_pids), 2.0, what="the old workers are gone")
        assert all(wire.get("/").status == 200 for wire in wires)


def test_a_head_that_was_begun_before_is_completed_after(gateway: GatewayProcess) -> None:
    with connections(gateway.external_port, 4) as wires:
        for wire in wires:
            wire.send("GET / HTTP/1.1\r\nHo")
        time.sleep(0.2)
        gateway.reload(config("b"))
        for wire in wires:
            wire.send("st: h\r\n\r\n")
            assert wire.answer().json()["routes"] == ["b"]


def test_a_request_in_progress_is_answered_by_the_generation_that_began_it(gateway: GatewayProcess) -> None:
    with connections(gateway.external_port, 1) as (wire,):
        wire.send("GET /sleep/1 HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.2)
        gateway.reload(config("b"))
        answer = wire.answer()
        assert (answer.json()["routes"], answer.value("Connection")) == (["a"], "close")


def test_a_connection_that_was_busy_moves_behind_its_answer(gateway: GatewayProcess) -> None:
    """The answer promised to keep the connection before the reload came."""
    with connections(gateway.external_port, 1) as (wire,):
        wire.send("GET /stream/1 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert wire.head()[0] == "HTTP/1.1 200 OK"
        gateway.reload(config("b"))
        while b"end" not in wire.buf:
            assert wire._more()
        wire.buf = b""
        assert wire.get("/").json()["routes"] == ["b"]


def test_hundreds_of_idle_connections_all_go_on(gateway: GatewayProcess) -> None:
    with connections(gateway.external_port, 600) as wires:
        eventually(
            lambda: sum(one["connections"] for one in gateway.readyz["workers"].values()) >= 600,
            what="all of them are accepted",
        )
        for _ in range(2):
            gateway.reload()
        for wire in wires:
            answer = wire.get("/")
            assert (answer.status, answer.json()["own_generation"]) == (200, 3)


def test_what_was_passed_on_is_served_when_a_stop_follows(gateway: GatewayProcess) -> None:
    with connections(gateway.external_port, 4) as wires:
        gateway.hup()
        gateway.wait_event("serving", generation=2)
        for wire in wires:
            wire.send("GET /sleep/0.5 HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.2)
        gateway.process.terminate()  # type: ignore[union-attr]
        assert [wire.answer().status for wire in wires] == [200] * 4
        assert gateway.wait_exit() == 0
