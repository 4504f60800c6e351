"""The plug point of balancers: one file a balancer, named as `balancer` in the configuration names it.

A balancer never asks whether an instance may be picked: it gets only those that may (`eligible.py` is the one filter).
A file defines `build(settings, **deps) -> Balancer`; settings is the service's `config.model.Service`, deps are

- `cursor`: a callable that gives the next number of the service, 0, 1, 2 …, never the same one twice on this node.
- `loads`: what the instances are doing, over all workers of the node; a `Loads`.
- `level`: makes the node's record of where an instance began, by its key; see `least_requests`.

A chooser may return an instance that failed this request before (`exchange.tried`): then others are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.exchange import Exchange
from gateway.state.registry import Instance

Cursor = Callable[[], int]
Chooser = Callable[[Exchange], Instance]


class Loads(Protocol):
    """Each call makes a reader of the instances with these keys, which tells their numbers, in order, as of now."""

    def read_in_flight(self, keys: Sequence[str]) -> Callable[[], list[int]]: ...

    def read_requests(self, keys: Sequence[str]) -> Callable[[], list[int]]: ...


class Balancer(Protocol):
    """Made once for a service, or for a part of it.

    by_load: it goes by what instances do, not by turns or a key; see `slow_start`.
    """

    by_load: bool

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        """What picks among these, at least one. Called once for each eligible set, so that a pick costs the same
        whatever their number; what it returns is shared by all threads."""
        ...
