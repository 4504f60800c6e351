"""What an operator does to an instance: drain, undrain, disable, enable. Each is told in the log, with who did it."""

from __future__ import annotations

import structlog

from gateway.state.health import Action

from .api import Api, Reply, Request, document
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
    changed = api.healths.of(instance, view.settings.health).steer(action)
    structlog.get_logger("gateway.admin").info(
        "audit", client=request.client, authenticated=request.authenticated, action=action, service=view.name,
        instance=instance.id, changed=changed,
    )  # fmt: skip
    return document(instance_document(api, view, instance, api.clock.monotonic()))
