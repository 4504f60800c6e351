"""A registration is seen by all workers at once, and outlives reloads, workers and the gateway."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server
from tests.support.worker import Wire

pytestmark = pytest.mark.needs(Promise.PROCESSES)

WORKERS = 3
CONFIG: dict[str, Any] = {
    "services": {"s": {}, "other": {}},
    "routes": [{"id": "any", "path": "/{name}/*", "service": "{name}"}],
}


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, FakeBackend]]:
    with FakeBackend(behaviours.echo, name="a") as a, FakeBackend(behaviours.echo, name="b") as b:
        yield {"a": a, "b": b}


@pytest.fixture(scope="module")
def gateway(server: Server) -> Iterator[Gateway]:
    with server.serve(CONFIG, workers=WORKERS) as started:
        yield started


@pytest.fixture
def wires(gateway: Gateway) -> Iterator[list[Wire]]:
    """Connections to every worker."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(wire) for wire in gateway.connect_to_each_worker(3)]


def answers(wires: list[Wire], target: str) -> set[Any]:
    """What answers a request on each connection, all sent before any is read: a backend's name, or a reason.

    A connection that its worker ends with the answer, because it thinks that it has too many, is left out from then on.
    """
    for wire in wires:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
    heard = [wire.answer() for wire in wires]
    wires[:] = [wire for wire, one in zip(wires, heard, strict=True) if one.value("Connection") != "close"]
    documents = [one.json() for one in heard]
    return {one.get("backend", one.get("reason")) for one in documents}


def test_every_worker_sees_a_registration_on_its_very_next_request(
    gateway: Gateway, backends: dict[str, FakeBackend], wires: list[Wire]
):
    for number in range(60):
        name = "ab"[number % 2]
        assert gateway.register("s", "one", backends[name].url).status == 204
        assert answers(wires, "/s/") == {name}, number
    assert len({gateway.worker_of(wire) for wire in wires}) == WORKERS


def test_every_worker_sees_a_leave_on_its_very_next_request(
    gateway: Gateway, backends: dict[str, FakeBackend], wires: list[Wire]
):
    for number in range(20):
        assert gateway.register("other", "one", backends["a"].url).status == 204
        assert answers(wires, "/other/") == {"a"}, number
        assert gateway.call("DELETE", "/register", {"service": "other", "id": "one"}).status == 204
        assert answers(wires, "/other/") == {"no_instance"}, number
    assert len({gateway.worker_of(wire) for wire in wires}) == WORKERS


def test_a_registration_outlives_a_reload(gateway: Gateway, backends: dict[str, FakeBackend]):
    gateway.register("s", "one", backends["a"].url, weight=3, zone="z", tags=["t"])
    gateway.register("unlisted", "one", backends["b"].url, ttl="1h")
    before = without_countdown(gateway)
    # The reload lists the service that had only registered, which makes it reachable.
    gateway.reload({**CONFIG, "services": {**CONFIG["services"], "unlisted": {}}})
    assert sorted(without_countdown(gateway), key=str) == sorted(before, key=str)
    assert {gateway.get("/s/").json()["backend"] for _ in range(8)} == {"a"}
    assert {gateway.get("/unlisted/").json()["backend"] for _ in range(8)} == {"b"}
    gateway.call("DELETE", "/register", {"service": "unlisted", "id": "one"})


def test_a_registration_outlives_every_worker(gateway: Gateway, backends: dict[str, FakeBackend]):
    gateway.register("s", "one", backends["b"].url)
    gateway.kill_workers()
    eventually(lambda: served(gateway, "/s/") == {"b"}, what="the new workers")
    assert {gateway.get("/s/").json()["backend"] for _ in range(8)} == {"b"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_registration_outlives_the_gateway(
    server: Server, backends: dict[str, FakeBackend], number: signal.Signals, tmp_path: Path
):
    with server.serve(CONFIG, folder=tmp_path) as gateway:
        assert gateway.register("s", "one", backends["a"].url, weight=3, tags=["t"]).status == 204
        assert gateway.register("s", "two", backends["a"].url, ttl="1h").status == 204
        gateway.call("DELETE", "/register", {"service": "s", "id": "gone"})
        before = without_countdown(gateway)
        if number == signal.SIGKILL:
            os.killpg(gateway.pid, number)
        else:
            gateway.signal(number)
        gateway.wait_exit()
    with server.serve(CONFIG, folder=tmp_path) as gateway:
        assert without_countdown(gateway) == before
        assert gateway.get("/s/").json()["backend"] == "a"


def test_what_an_operator_ordered_outlives_the_gateway(
    server: Server, backends: dict[str, FakeBackend], tmp_path: Path
):
    with server.serve(CONFIG, folder=tmp_path) as gateway:
        for name in ("one", "two", "three"):
            assert gateway.register("s", name, backends["a" if name == "three" else "b"].url).status == 204
        assert gateway.call("POST", "/api/v1/services/s/instances/one/drain", {}).status == 200
        assert gateway.call("POST", "/api/v1/breakers/s/two", {"action": "force_open"}).status == 200
        os.killpg(gateway.pid, signal.SIGKILL)
        gateway.wait_exit()
    with server.serve(CONFIG, folder=tmp_path) as gateway:
        assert [found for wire in range(8) for found in served(gateway, "/s/")] == ["a"] * 8
        assert states(gateway) == {"one": "draining", "two": "open", "three": "up"}
        assert gateway.call("POST", "/api/v1/services/s/instances/one/undrain", {}).status == 200
        assert gateway.call("POST", "/api/v1/breakers/s/two", {"action": "reset"}).status == 200
        assert served(gateway, "/s/") == {"a", "b"}
        gateway.signal(signal.SIGTERM)
        gateway.wait_exit()
    with server.serve(CONFIG, folder=tmp_path) as gateway:
        assert states(gateway) == {"one": "up", "two": "up", "three": "up"}


def states(gateway: Gateway) -> dict[str, str]:
    return {one["id"]: one["state"] for one in gateway.call("GET", "/api/v1/services/s").json()["instances"]}


def served(gateway: Gateway, target: str) -> set[Any]:
    return {gateway.get(target).json().get("backend") for _ in range(8)}


def without_countdown(gateway: Gateway) -> list[tuple[Any, ...]]:
    """All instances, with whether they have a lease in the place of the seconds that are left, and without counts."""
    found = gateway.call("GET", "/services").json()["services"]
    return [
        (one["name"], each["id"], each["url"], each["weight"], each["zone"], each["tags"], each["expires_in"] is None)
        for one in found
        for each in one["instances"]
    ]
