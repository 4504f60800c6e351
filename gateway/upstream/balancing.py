"""Makes the balancer of a service, with its cursor."""

from __future__ import annotations

from itertools import count

from gateway import plugin
from gateway.errors import StoreFull
from gateway.state.engines import Engine, Record
from gateway.state.operations.level import LIFT
from gateway.state.operations.sequence import NEXT
from gateway.state.registry import ServiceView

from . import balancers
from .balancers import Balancer, Cursor, Loads


class Balancing:
    """Imports every kind of balancer when it is made, so that no request waits for an import."""

    def __init__(self, engine: Engine, loads: Loads) -> None:
        self._engine = engine
        self._loads = loads
        self._kinds = plugin.load_all(balancers)

    def of(self, view: ServiceView, kind: str, part: str = "") -> Balancer:
        """A balancer of this kind for the service, or for a part of its instances. KeyError: there is no such kind."""
        cursor = self._cursor(f"{view.name}/{part}" if part else view.name)
        made: Balancer = self._kinds[kind].build(view.settings, cursor=cursor, loads=self._loads, level=self._level)
        return made

    def _level(self, key: str) -> Record:
        return self._engine.record(LIFT, f"level/{key}")

    def _cursor(self, key: str) -> Cursor:
        record = self._engine.record(NEXT, f"balancer/{key}")
        apply, own = record.apply, count()

        def cursor() -> int:
            try:
                return apply(NEXT)
            except StoreFull:  # no room for the cursor: better each worker counts for itself than nobody is served
                return next(own)

        return cursor
