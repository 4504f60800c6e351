"""Telling listeners what became of breakers and instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

Event = TypeVar("Event")

_log = structlog.get_logger("gateway.state")


def tell(listeners: Iterable[Callable[[Event], object]], event: Event) -> None:
    """Each listener in turn. One that fails is logged: it must cost neither the others the event, nor a client its
    answer."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            _log.exception("listener_failed", told=str(event))
