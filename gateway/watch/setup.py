"""`setup: module:function`: the operator's own code registers instances, once on each node after the start.

    def configure(registry):
        registry.register("users", "users-1", "http://10.0.0.5:8000", weight=2)

It runs in a thread beside the requests, in the first worker that gets to it: not again after a reload or in a worker
that takes another's place. Another function that a reload names runs once, too.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from threading import Thread

import structlog

from ..state.engines import Engine
from ..state.operations import Decision, Operation, State
from ..state.registration import Registration
from ..state.registry import Registry


def _claim(state: State, now: float) -> Decision[bool]:
    return Decision(None, False) if state[0] else Decision((1,), True)


CLAIM: Operation[bool] = Operation("setup.claim", struct.Struct("=q"), (0,), _claim, lambda state: math.inf)
"""True for the first who asks, False for all others."""


class CodeRegistry:
    """What the operator's function gets."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def register(
        self,
        service: str,
        id: str,
        addr: str,
        *,
        weight: int = 1,
        zone: str | None = None,
        tags: Sequence[str] = (),
        ttl: float | None = None,
    ) -> None:
        """Add an instance, or replace the registered one of the same id. ttl: seconds, None: until deregistered.

        Raises ValueError naming the field that is wrong, StaticInstance, StoreUnavailable. `registration: off` closes
        the HTTP call, not this one.
        """
        registration = Registration(
            service=service, id=id, addr=addr, weight=weight, zone=zone, tags=tuple(tags), ttl=ttl
        )
        self._registry.register(registration, in_code=True)

    def deregister(self, service: str, id: str) -> bool:
        """Remove a registered instance; False when there was none."""
        return self._registry.deregister(service, id)

    def services(self) -> dict[str, list[str]]:
        """The ids of the instances of each service now."""
        views = self._registry.snapshot().services.values()
        return {view.name: [instance.id for instance in view.instances] for view in views}


class Setup:
    """Runs `function` in a thread of its own when `start` finds that nobody on this node has. reference: its name."""

    def __init__(self, reference: str, function: Callable[[CodeRegistry], object], engine: Engine, registry: Registry):
        self._reference = reference
        self._function = function
        self._record = engine.record(CLAIM, f"setup:{reference}")
        self._registry = CodeRegistry(registry)
        self._log = structlog.get_logger("gateway.setup")

    def start(self) -> None:
        if self._record.apply(CLAIM):
            Thread(target=self._run, name="setup", daemon=True).start()

    def stop(self) -> None:
        """The operator's code ends by itself, at the latest with the process."""

    def _run(self) -> None:
        try:
            self._function(self._registry)
        except Exception:  # it is the operator's; the gateway serves without what it would have registered
            self._log.exception("setup_failed", setup=self._reference)
        else:
            self._log.info("setup_done", setup=self._reference)
