"""Instances come and go by the hundred under load: a service with one that stays never fails a request."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.load import Call, Load
from tests.support.process import GatewayProcess
from tests.support.wire import eventually

from .conftest import Figures
from .scale import SCALE

CALLS = [Call("get", "/echo/get"), Call("post", "/echo/post", "POST", b"x" * 2_000)]
SEEN_WITHIN = 1.0  # seconds until a new instance must have had a request


@pytest.mark.load
def test_registrations_under_load_fail_no_request(backends, figures: Figures) -> None:
    steady, *others = backends("steady", "b", "c", "d")
    config = {
        "logging": {"sample": "0%"},
        "services": {"echo": {"instances": [{"id": "steady", "url": steady.url}]}},
        "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
    }
    took: list[float] = []
    with GatewayProcess(config, workers=2) as gateway:

        def change(method: str, **what: object) -> None:
            body = json.dumps({"service": "echo", **what}).encode()
            began = time.monotonic()
            reply = gateway.request(
                method, "/register", internal=True, headers={"Content-Type": "application/json"}, body=body
            )
            took.append(time.monotonic() - began)
            assert reply.status == 204, reply.body

        with Load(gateway.external_port, CALLS, connections=32) as load:
            for number in range(SCALE.registrations):
                one = others[number % len(others)]
                change("POST", id=one.name, addr=one.url, ttl="2s" if number % 7 == 0 else "60s")
                before = one.total
                eventually(lambda one=one, before=before: one.total > before, SEEN_WITHIN, what=f"{one.name} serves")
                if number % 3:
                    change("DELETE", id=one.name)
            for one in others:
                change("DELETE", id=one.name)
            gone = [one.total for one in others]
            time.sleep(0.5)
        left = [one.total for one in others]
        (service,) = gateway.get("/services", internal=True).json()["services"]
    took.sort()
    figures(
        f"{len(took)} registrations: {load.report}; a registration took p50 {took[len(took) // 2] * 1000:.1f} ms, "
        f"max {took[-1] * 1000:.0f} ms"
    )
    assert load.report.failures == [], load.report.errors.most_common(5)
    assert [one["id"] for one in service["instances"]] == ["steady"]
    # What was on its way when it was deregistered may still arrive: at most one request a connection.
    assert sum(left) - sum(gone) <= 32
