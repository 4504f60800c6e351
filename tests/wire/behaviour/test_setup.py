"""`setup: module:function` registers instances in code, once on each node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server

ROUTES = [{"id": "in_code", "path": "/*", "service": "in_code"}]
# HTTP is closed to it; the operator's own code is not.
CONFIG: dict[str, Any] = {"services": {"in_code": {"registration": "off"}}, "routes": ROUTES}


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.echo) as fake:
        yield fake


def start(server: Server, backend: FakeBackend, folder: Path, function: str) -> Gateway:
    (folder / "calls").touch()
    env = {"SETUP_ADDRESS": backend.url, "SETUP_CALLS": str(folder / "calls")}
    return server.serve({**CONFIG, "setup": f"tests.support.hooks:{function}"}, workers=3, env=env, folder=folder)


def served(gateway: Gateway) -> bool:
    return gateway.get("/").status == 200


def test_what_the_function_registers_is_served(
    server: Server, backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SETUP_ADDRESS", backend.url)
    monkeypatch.setenv("SETUP_CALLS", str(tmp_path / "calls"))
    with start(server, backend, tmp_path, "configure") as gateway:
        eventually(lambda: served(gateway), what="the registration")
        (one,) = gateway.call("GET", "/api/v1/services/in_code").json()["instances"]
        told = {"id": "one", "url": backend.url, "source": "registered", "weight": 3, "zone": "a", "tags": ["x"]}
        assert told.items() <= one.items()
        gateway.wait_event("setup_done", setup="tests.support.hooks:configure")


@pytest.mark.needs(Promise.PROCESSES)
def test_it_is_called_once_whatever_becomes_of_the_workers(server: Server, backend: FakeBackend, tmp_path: Path):
    calls = tmp_path / "calls"
    with start(server, backend, tmp_path, "configure") as gateway:
        eventually(lambda: served(gateway), what="the registration")
        gateway.reload()
        gateway.kill_workers()
        eventually(lambda: served(gateway), what="the new workers")
        assert len(calls.read_text().split()) == 1
    with start(server, backend, tmp_path, "configure"):
        eventually(lambda: len(calls.read_text().split()) == 2, what="the call after a new start")


def test_one_that_fails_is_logged_and_the_gateway_serves(
    server: Server, backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SETUP_ADDRESS", backend.url)
    with start(server, backend, tmp_path, "fail") as gateway:
        event = gateway.wait_event("setup_failed")
        assert "setup fails on purpose" in event["exception"]
        eventually(lambda: served(gateway), what="what was registered before the failure")
