"""What the resources work on: handed in by the composition root, nothing of it made here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gateway.clock import Clock
from gateway.state.breakers import Breakers
from gateway.state.budgets import RetryBudgets
from gateway.state.health import Healths
from gateway.state.inflight import InFlight
from gateway.state.orders import Orders
from gateway.state.registry import Registry
from gateway.telemetry.metrics import RequestMetrics


class Status(NamedTuple):
    """How the gateway stands.

    generation: number of the accepted load that serves. loaded_at: Unix seconds, None before the first.
    last_reload: {"ok", "at", "errors": [{"line", "path", "message"}]}, None before the first.
    reload_failures: reloads refused since the start.
    """

    phase: Literal["starting", "ready", "draining"]
    generation: int
    loaded_at: float | None
    last_reload: Mapping[str, Any] | None
    reload_failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """check_address: raises InvalidBody when a registration's `addr` may not be connected to; see `registering`.

    routes: the table as matched, a JSON object a route; route_count: their number. configuration: the one in force,
    secrets masked; digest: of the files it was read from. requests: counted by the edge, told by /metrics.
    """

    registry: Registry
    breakers: Breakers
    healths: Healths
    orders: Orders
    inflight: InFlight
    budgets: RetryBudgets
    clock: Clock
    check_address: Callable[[str], None]
    routes: Callable[[], Sequence[Mapping[str, Any]]]
    route_count: int
    configuration: Callable[[], Mapping[str, Any]]
    digest: str
    status: Callable[[], Status]
    requests: RequestMetrics


class Request(NamedTuple):
    """A call that may be made. variables: of the path, decoded. document: the JSON value of the body, None without.

    client: the caller's address. with_token: a token was needed and came.
    """

    variables: Mapping[str, str]
    document: Any
    client: str = ""
    with_token: bool = False


class Reply(NamedTuple):
    status: int
    content_type: str | None  # None: no content
    body: bytes


NO_CONTENT = Reply(204, None, b"")


def document(value: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, "application/json", json.dumps(value).encode() + b"\n")
