"""Each instance in turn, weights ignored: the n-th request of the node goes to instance n modulo their number.

The cursor is the node's and runs on when the set changes, so the next round over the new set begins wherever it stands
and is as even as before.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config.model import Service
from gateway.exchange import Exchange
from gateway.state.registry import Instance

from . import Balancer, Chooser, Cursor
from ._spare import spare


def pick(instances: Sequence[Instance], n: int) -> Instance:
    """The instance whose turn is the n-th."""
    return instances[n % len(instances)]


class RoundRobin:
    by_load = False

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        among = tuple(instances)
        if len(among) == 1:
            return lambda exchange: among[0]  # nobody's turn to note
        cursor, count = self._cursor, len(among)

        def choose(exchange: Exchange) -> Instance:
            if exchange.tried:
                return spare(among, exchange, weighted=False)
            return among[cursor() % count]

        return choose


def build(settings: Service, *, cursor: Cursor, **deps: object) -> Balancer:
    return RoundRobin(cursor)
