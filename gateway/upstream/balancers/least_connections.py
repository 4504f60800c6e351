"""The instance with the fewest requests in flight for its weight, over all workers of the node.

As nginx does (ngx_http_upstream_least_conn_module.c), in flight / weight is compared, and instances that tie take turns
by weight. Counting the request to come, (in flight + 1) / weight (shortest expected delay, as in Linux' IPVS), would
send everything to the heaviest instance while a service is nearly idle; and of equal weights both mean the same.

A pick reads the counts of all instances: it costs as much as there are. Requests that are picked at the same moment do
not see each other; among equals they are spread by their turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config.model import Service
from gateway.exchange import Exchange
from gateway.state.registry import Instance

from . import Balancer, Chooser, Cursor, Loads
from ._least import Least


class LeastConnections:
    by_load = True

    def __init__(self, cursor: Cursor, loads: Loads) -> None:
        self._cursor = cursor
        self._loads = loads

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        among = tuple(instances)
        if len(among) == 1:
            return lambda exchange: among[0]
        place = Least(among, self._cursor).place
        read = self._loads.read_in_flight([instance.key for instance in among])

        def choose(exchange: Exchange) -> Instance:
            return among[place([*read()], exchange.tried)]

        return choose


def build(settings: Service, *, cursor: Cursor, loads: Loads, **deps: object) -> Balancer:
    return LeastConnections(cursor, loads)
