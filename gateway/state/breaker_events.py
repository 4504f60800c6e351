"""What becomes of breakers, told to whoever listens; `log` is the listener that writes it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

_log = structlog.get_logger("gateway.breaker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What became of a breaker, told after the fact and outside of every lock.

    name: failure | held (it should have opened, `max_ejected` forbids it) | opened | half_open | closed | steered.
    at: Unix seconds. key: the instance's. before, after: states, as in `Status`.
    cause: failure | failures | failure_ratio | slow_call | probe_failed | open_for (it is over) | probes_succeeded |
    max_ejected | an operator's order.
    failures: in a row, or within `window`, of `threshold`; for `opened` out of half open, those that had opened it.
    calls, failed, slow: within `window`, where shares are looked at; else 0. window: seconds, None: there is none.
    open_for: seconds, for `opened`; else None. deregister: for `opened`, the instance is to be taken out of discovery.
    """

    name: str
    at: float
    service: str
    instance: str
    key: str
    before: str
    after: str
    cause: str
    failures: int
    threshold: int
    calls: int = 0
    failed: int = 0
    slow: int = 0
    window: float | None = None
    open_for: float | None = None
    deregister: bool = False


Listener = Callable[[Event], None]


def log(event: Event) -> None:
    """One line for each event."""
    told: dict[str, object] = {
        "service": event.service, "instance": event.instance, "from": event.before, "to": event.after,
        "cause": event.cause, "failures": event.failures, "threshold": event.threshold, "window": event.window,
        "calls": event.calls, "failed": event.failed, "slow": event.slow,
    }  # fmt: skip
    match event.name:
        case "failure":
            _log.info("breaker_failure", **told)
        case "opened":
            _log.warning("breaker_opened", **told, open_for=event.open_for)
        case "held":
            _log.warning("breaker_held", **told)
        case "half_open":
            _log.info("breaker_half_open", **told)
        case "closed":
            _log.info("breaker_closed", **told)
        case _:
            _log.warning("breaker_steered", **told)
