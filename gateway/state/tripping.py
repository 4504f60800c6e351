"""`breaker.deregister`: an instance whose breaker opens is taken out of the registry, too."""

from __future__ import annotations

import structlog

from gateway.errors import Refusal

from .breaker_events import Event
from .registry import Registry

_log = structlog.get_logger("gateway.registry")


class Deregistration:
    """A listener of breakers. What is in the configuration stays: only the operator can take it out."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, event: Event) -> None:
        if not event.deregister:
            return
        told = {"service": event.service, "instance": event.instance, "cause": event.cause}
        view = self._registry.snapshot().services.get(event.service)
        if view is None or not any(one.key == event.key and one.source != "static" for one in view.instances):
            return
        try:
            if self._registry.deregister(event.service, event.instance):
                _log.warning("instance_deregistered", **told)
        except Refusal as refusal:  # the request that brought the news must not be lost over it
            _log.error("instance_not_deregistered", **told, why=refusal.detail)
