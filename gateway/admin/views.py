"""What GET calls show, in the shapes of the admin API. Nothing here changes anything."""

from __future__ import annotations

from typing import Any

from gateway.errors import NotFound
from gateway.state.breakers import Breaker
from gateway.state.breakers import Status as BreakerStatus
from gateway.state.health import Mark
from gateway.state.registry import Instance, ServiceView
from gateway.telemetry.logs import timestamp

from .api import Api, Reply, Request, document

# An instance's word for its breaker's; the others are the same.
_STATES = {"closed": "up", "forced_closed": "up", "disabled": "up", "forced_open": "open"}
_CAUSES = {"failure_ratio": "too many calls failed", "slow_call": "too many calls were slow"}


def health(api: Api, request: Request) -> Reply:
    """The process answers; nothing else is asked."""
    return document({"status": "ok"})


def readiness(api: Api, request: Request) -> Reply:
    status = api.status()
    told = {
        "status": status.phase,
        "generation": status.generation,
        "routes": api.route_count,
        "instances": sum(len(view.instances) for view in api.registry.snapshot().services.values()),
        "last_reload": status.last_reload,
    }
    return document(told, 200 if status.phase == "ready" else 503)


def services(api: Api, request: Request) -> Reply:
    return document({"services": [_service(api, view) for view in api.registry.snapshot().services.values()]})


def service(api: Api, request: Request) -> Reply:
    return document(_service(api, _view(api, request.variables["service"])))


def breakers(api: Api, request: Request) -> Reply:
    now = api.clock.monotonic()
    told = [
        breaker_document(api, one, status)
        for view in api.registry.snapshot().services.values()
        for one in view.instances
        if (status := breaker_status(api, view, one, now)) is not None
    ]
    return document({"breakers": told})


def breaker(api: Api, request: Request) -> Reply:
    _, instance, found = breaker_of(api, request)
    return document(breaker_document(api, instance, found.status(api.clock.monotonic())))


def routes(api: Api, request: Request) -> Reply:
    return document({"routes": list(api.routes())})


def configuration(api: Api, request: Request) -> Reply:
    status = api.status()
    return document(
        {
            "generation": status.generation,
            "digest": api.digest,
            "loaded_at": None if status.loaded_at is None else timestamp(status.loaded_at),
            "last_reload": status.last_reload,
            "configuration": api.configuration(),
        }
    )


def _view(api: Api, name: str) -> ServiceView:
    view = api.registry.snapshot().services.get(name)
    if view is None:
        raise NotFound(f"there is no service {name[:128]!a}")
    return view


def find_instance(api: Api, service: str, id: str) -> tuple[ServiceView, Instance]:
    """NotFound: no such service, or it has no such instance."""
    view = _view(api, service)
    for one in view.instances:
        if one.id == id:
            return view, one
    raise NotFound(f"the service {view.name} has no instance {id[:128]!a}", service=view.name)


def breaker_of(api: Api, request: Request) -> tuple[ServiceView, Instance, Breaker]:
    """What the path's `service` and `instance` name. Raises NotFound."""
    view, instance = find_instance(api, request.variables["service"], request.variables["instance"])
    handle = _handle(api, view, instance)
    if handle is None:
        raise NotFound(f"the service {view.name} has no breaker", service=view.name)
    return view, instance, handle


def breaker_status(api: Api, view: ServiceView, instance: Instance, now: float) -> BreakerStatus | None:
    """None: the service has no breaker."""
    handle = _handle(api, view, instance)
    return None if handle is None else handle.status(now)


def _handle(api: Api, view: ServiceView, instance: Instance) -> Breaker | None:
    return api.breakers.of(instance, view.settings.breaker, view.settings.timeouts.request)


def _service(api: Api, view: ServiceView) -> dict[str, Any]:
    now = api.clock.monotonic()
    return {
        "name": view.name,
        "balancer": view.settings.balancer,
        "instances": [instance_document(api, view, one, now) for one in view.instances],
    }


def instance_document(api: Api, view: ServiceView, instance: Instance, now: float) -> dict[str, Any]:
    mark = api.healths.of(instance, view.settings.health).mark(now)
    state, reason = _state(view, mark, breaker_status(api, view, instance, now), now)
    in_flight = api.inflight.in_flight_of(instance.key)
    return {
        "id": instance.id,
        "url": instance.url,
        "source": instance.source,
        "weight": instance.weight,
        "zone": instance.zone,
        "tags": list(instance.tags),
        "state": state,
        "reason": reason,
        "in_flight": in_flight,
        "requests": api.inflight.requests_of(instance.key),
        "expires_in": None if instance.expires is None else round(max(0.0, instance.expires - now), 3),
        **({"remaining": in_flight} if mark.mode == "draining" else {}),
    }


def _state(view: ServiceView, mark: Mark, status: BreakerStatus | None, now: float) -> tuple[str, str | None]:
    """An instance's state and why: the operator's word first, then its breaker, then its health."""
    if status is None or mark.mode in {"disabled", "draining"}:
        return mark.mode, mark.reason
    state = _STATES.get(status.state, status.state)
    return (mark.mode, mark.reason) if state == "up" else (state, _reason(view, status, now))


def _reason(view: ServiceView, status: BreakerStatus, now: float) -> str | None:
    """Why an instance is not up, for people to read."""
    if status.state == "forced_open":
        return "forced open by an operator"
    if status.state == "open" and status.half_open_at is not None:
        windowed = view.settings.breaker is not None and view.settings.breaker.window is not None
        failed = f"{status.failures} failures {'within the window' if windowed else 'in a row'}"
        why = _CAUSES.get(status.cause, failed)
        return f"{why}; half open in {max(0.0, status.half_open_at - now):.1f}s"
    return "probes decide whether it comes back" if status.state == "half_open" else None


def breaker_document(api: Api, instance: Instance, status: BreakerStatus) -> dict[str, Any]:
    """calls: requests sent to the instance so far. opened_at, half_open_at: null while closed."""
    return {
        "service": instance.service,
        "instance": instance.id,
        "state": status.state,
        "failures": status.failures,
        "calls": api.inflight.requests_of(instance.key),
        "opened_at": _wall(api, status.opened_at),
        "half_open_at": _wall(api, status.half_open_at),
        "generation": status.generation,
    }


def _wall(api: Api, monotonic: float | None) -> str | None:
    if monotonic is None:
        return None
    return timestamp(api.clock.wall() - api.clock.monotonic() + monotonic)
