"""The order of the stages, stated once.

A stage is `stage(exchange, proceed) -> Answer`: it looks at the exchange, then refuses by raising a `Refusal`,
answers by itself, or returns what `proceed(exchange)` answers. The last one, `forward`, has nobody to proceed to.
`edge` is in front of all: it makes the exchange and turns whatever happens into an answer and a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any

from .exchange import Answer, Exchange

Proceed = Callable[[Exchange], Answer]
Stage = Callable[[Exchange, Proceed], Answer]

STAGES = (
    "admin",  # only on the listeners that carry the admin API
    "routing",
    "body",  # how large the request's may be
    "upstream",
    "forward",
)


def compose(stages: Mapping[str, Stage], last: Proceed) -> Proceed:
    """Chain the given stages in the order of STAGES in front of `last`, the one named by STAGES' last entry.

    A stage that is left out costs nothing. KeyError: a name that STAGES does not hold.
    """
    unknown = set(stages) - set(STAGES[:-1])
    if unknown:
        raise KeyError(f"no such stage: {', '.join(sorted(unknown))}")
    proceed = last
    for name in reversed(STAGES[:-1]):
        if name in stages:
            proceed = _bind(stages[name], proceed)
    return proceed


def _direct(thing: Any) -> Any:
    """What calls the same at less cost: an object's own method, looked up once."""
    return thing if isinstance(thing, FunctionType | MethodType) else thing.__call__


def _bind(stage: Stage, proceed: Proceed) -> Proceed:
    stage, proceed = _direct(stage), _direct(proceed)

    def bound(exchange: Exchange) -> Answer:
        return stage(exchange, proceed)

    return bound
