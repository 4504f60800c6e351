"""What the resilience tests share: services over fault backends, questions to the gateway, keys that may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.faults import FaultBackend
from tests.support.process import Reply
from tests.support.servers import Gateway

ROUTES = [{"id": "r", "path": "/{name}/*", "service": "{name}"}]


def instances(backends: Sequence[FaultBackend], **more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Static instances, by the backends' names. more: further keys of some."""
    return [{"id": one.name, "url": one.url, **more.get(one.name, {})} for one in backends]


def reason(answer: Reply) -> str | None:
    """None of a backend's own answer."""
    is_problem = answer.header("Content-Type") == "application/problem+json"
    return str(answer.json()["reason"]) if is_problem else None


def of_service(gateway: Gateway, service: str) -> dict[str, dict[str, Any]]:
    """The service's instances as GET /api/v1/services shows them, by id."""
    found = gateway.call("GET", f"/api/v1/services/{service}").json()["instances"]
    return {one["id"]: one for one in found}


def states(gateway: Gateway, service: str) -> dict[str, str]:
    return {id: one["state"] for id, one in of_service(gateway, service).items()}


def breaker(gateway: Gateway, service: str, instance: str) -> dict[str, Any]:
    return dict(gateway.call("GET", f"/api/v1/breakers/{service}/{instance}").json())


def served_by(gateway: Gateway, target: str, **options: Any) -> str:
    """The instance that answers a request on a connection of its own, which any worker may get."""
    answer = gateway.request(options.pop("method", "GET"), target, **options)
    assert answer.status == 200, (answer.status, answer.body[:200])
    return str(answer.header("X-Instance"))
