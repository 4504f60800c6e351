"""What an operator does to an instance: drain, undrain, disable, enable. Each call leaves an audit line."""

from __future__ import annotations

from gateway.state.health import Action

from .api import Api, Reply, Request, document
from .audit import audit
from .views import find_instance, instance_document


def drain(api: Api, request: Request) -> Reply:
    return _steer(api, request, "drain")


def undrain(api: Api, request: Request) -> Reply:
    return _steer(api, request, "undrain")


def disable(api: Api, request: Request) -> Reply:
    return _steer(api, request, "disable")


def enable(api: Api, request: Request) -> Reply:
    return _steer(api, request, "enable")


def _steer(api: Api, request: Request, action: Action) -> Reply:
    """Also when there is nothing to change: whoever asks twice must not fail the second time."""
    view, instance = find_instance(api, request.variables["service"], request.variables["id"])
    health = api.healths.of(instance, view.settings.health)
    now = api.clock.monotonic()
    before = health.mark(now).mode
    health.steer(action)
    after = health.mark(now).mode
    audit(request, f"instance.{action}", service=view.name, instance=instance.id, before=before, after=after)
    api.orders.keep(instance)
    return document(instance_document(api, view, instance, now))
