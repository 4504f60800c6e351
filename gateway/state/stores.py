"""The worker's instances of all that is shared and locked. `build` sets `current`; besides it only `admin` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from .breakers import Breakers
from .budgets import RetryBudgets
from .engines import Engine
from .health import Healths
from .inflight import InFlight
from .orders import Orders
from .registry import Registry


@dataclass(frozen=True, slots=True)
class Stores:
    """Each is safe to use from every thread."""

    engine: Engine
    registry: Registry
    breakers: Breakers
    healths: Healths
    inflight: InFlight
    budgets: RetryBudgets
    orders: Orders


current: Stores | None = None
