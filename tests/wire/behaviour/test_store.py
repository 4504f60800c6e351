"""A store that is full refuses what is new, tells so, and keeps what it has."""

from __future__ import annotations

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.servers import Promise, Server

pytestmark = pytest.mark.needs(Promise.PROCESSES)

BULKY = ["x" * 128] * 64  # the tags of one registration


def test_a_full_store_refuses_registrations_until_there_is_room(server: Server):
    config = {
        "state": {"max_size": "8MiB"},
        "services": {"s": {}},
        "routes": [{"id": "r", "path": "/*", "service": "s"}],
    }
    with FakeBackend(behaviours.echo) as backend, server.serve(config) as gateway:
        assert gateway.register("s", "one", backend.url).status == 204
        kept = 0
        answer = gateway.register("bulk", f"i{kept}", backend.url, tags=BULKY)
        while answer.status == 204:
            kept += 1
            assert kept < 2000
            answer = gateway.register("bulk", f"i{kept}", backend.url, tags=BULKY)
        assert (answer.status, answer.json()["reason"]) == (503, "store_full")
        assert gateway.get("/").status == 200
        assert len(gateway.call("GET", "/api/v1/services/bulk").json()["instances"]) == kept
        for number in range(10):
            assert gateway.call("DELETE", "/register", {"service": "bulk", "id": f"i{number}"}).status == 204
        assert gateway.register("bulk", "again", backend.url, tags=BULKY).status == 204
