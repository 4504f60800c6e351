"""The table of the admin API: what can be called, by whom, with what, and what comes back.

The handler serves it, GET /openapi.json describes it; nothing else knows a path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import (
    BodyTooLarge,
    InvalidBody,
    NotFound,
    Refusal,
    RegistrationOff,
    StaticInstance,
    StoreFull,
    StoreUnavailable,
    WrongContentType,
)

from . import instances, metrics, registering, schemas, steering, views
from .access import Access
from .api import Api, Reply, Request
from .schemas import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One row. path: {name} stands for one segment.

    body: schema of what comes in, None: nothing does. answer: schema of what goes out, None: no content, or text.
    also: further statuses with the same answer. refusals: beside those that every call may get (see `openapi`).
    """

    method: str
    path: str
    summary: str
    run: Callable[[Api, Request], Reply]
    access: Access = "admin"
    body: Schema | None = None
    answer: Schema | None = None
    content_type: str = "application/json"
    also: tuple[int, ...] = ()
    refusals: tuple[type[Refusal], ...] = ()


_BODY = (InvalidBody, WrongContentType, BodyTooLarge, StaticInstance, StoreUnavailable)

CALLS: tuple[Call, ...] = (
    Call(
        method="POST", path="/register", access="register", run=registering.register,
        summary="Register an instance, or renew its lease. The same id replaces what was registered under it.",
        body=schemas.REGISTRATION, refusals=(*_BODY, RegistrationOff, StoreFull),
    ),
    Call(
        method="DELETE", path="/register", access="register", run=registering.deregister,
        summary="Remove a registered instance. Also succeeds when it was not there.",
        body=schemas.NAMED_INSTANCE, refusals=_BODY,
    ),
    Call(
        method="GET", path="/services", run=views.services, answer=schemas.SERVICES,
        summary="All services with their instances.",
    ),
    Call(
        method="GET", path="/api/v1/services/{service}", run=views.service, answer=schemas.SERVICE,
        summary="One service with its instances.", refusals=(NotFound,),
    ),
    *(
        Call(
            method="POST", path=f"/api/v1/services/{{service}}/instances/{{id}}/{action}", run=run, summary=summary,
            answer=schemas.INSTANCE, refusals=(NotFound, StoreFull, StoreUnavailable),
        )
        for action, run, summary in (
            ("drain", instances.drain, "No requests but those of sessions that stick to it; `remaining` are left."),
            ("undrain", instances.undrain, "End a drain. An instance that is disabled stays so."),
            ("disable", instances.disable, "No requests at all."),
            ("enable", instances.enable, "Requests again."),
        )
    ),
    Call(
        method="GET", path="/api/v1/breakers", run=views.breakers, answer=schemas.BREAKERS,
        summary="The circuit breakers of all instances.",
    ),
    Call(
        method="GET", path="/api/v1/breakers/{service}/{instance}", run=views.breaker, answer=schemas.BREAKER,
        summary="The circuit breaker of one instance.", refusals=(NotFound,),
    ),
    Call(
        method="POST", path="/api/v1/breakers/{service}/{instance}", run=steering.steer_breaker, answer=schemas.BREAKER,
        summary="Hold a circuit breaker open or closed, switch it off, or reset it to closed with nothing counted.",
        body=schemas.BREAKER_ACTION,
        refusals=(InvalidBody, WrongContentType, BodyTooLarge, NotFound, StoreFull, StoreUnavailable),
    ),
    Call(
        method="GET", path="/api/v1/routes", run=views.routes, answer=schemas.ROUTES,
        summary="The routes, in the order in which they are matched.",
    ),
    Call(
        method="GET", path="/api/v1/config", run=views.configuration, answer=schemas.CONFIGURATION,
        summary="The configuration in force.",
    ),
    Call(
        method="GET", path="/healthz", access="open", run=views.health, answer=schemas.HEALTH,
        summary="Whether the process answers.",
    ),
    Call(
        method="GET", path="/readyz", access="open", run=views.readiness, answer=schemas.READINESS, also=(503,),
        summary="Whether requests should be sent here: 503 only while starting or draining.",
    ),
)  # fmt: skip


def metrics_call(path: str) -> Call:
    """The row of /metrics, which has a configured path and listeners of its own."""
    return Call(
        method="GET", path=path, run=metrics.metrics, content_type="text/plain",
        summary="Metrics of all workers in the Prometheus text format.",
    )  # fmt: skip
