"""The route table of one listener: which route a request takes.

A route matches when its host, path, header and method conditions all hold. Of those that match the first in this order
is taken:

 1. by host: exact, then wildcards (longest first), then routes without hosts (see `hosts`);
 2. by path: exact, then the longest template or prefix, then regexes (see `patterns`);
 3. by number of header conditions, most first;
 4. by place in the file.

Methods are a condition, not part of the order: where the first route by this order does not take the method, the next
one that takes it gets the request, also a less specific one and one for other hosts. Only when none takes the method
is the answer 405, with the methods of all of them in Allow. A route that lists GET takes HEAD too; OPTIONS has to be
listed.

`rows` tells the same order for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..config.model import Route
from ..errors import MethodNotAllowed, NoRoute
from ..exchange import Exchange, Headers, Plane
from .hosts import ANY_HOST, ByHost, normal, order
from .index import PathIndex
from .patterns import Kind, parse
from .routes import CompiledRoute, CompileEdits, compile_route
from .split import NextInSequence


class Table:
    """Immutable; read by all threads.

    routes: all of the configuration, in the order of the file; those of other listeners are left out.
    next_in_sequence: counts a split's requests over all workers; None: each table counts for itself.
    compile_edits: brings the routes' header edits into the form that they carry.
    RouteError: a route that cannot be built.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        plane: Plane,
        next_in_sequence: NextInSequence | None = None,
        compile_edits: CompileEdits = lambda edits: edits,
    ) -> None:
        self.plane = plane
        self.routes = tuple(
            compile_route(route, place, next_in_sequence, compile_edits)
            for place, route in enumerate(routes)
            if plane in route.listeners
        )
        by_host: dict[str, list[CompiledRoute]] = {}
        anywhere: list[CompiledRoute] = []
        for route in self.routes:
            if not route.source.hosts:
                anywhere.append(route)
            for host in map(normal, route.source.hosts):
                by_host.setdefault(host, []).append(route)
        self._anywhere = (PathIndex(anywhere),)
        indexes = {host: PathIndex(members) for host, members in by_host.items()}
        self._by_host = ByHost(indexes, self._anywhere) if indexes else None

    def match(self, exchange: Exchange) -> CompiledRoute:
        """Find the route for `exchange.path` (canonical), and set `exchange.route` and `exchange.variables` to it.

        Variables are as the client encoded them. NoRoute, MethodNotAllowed: there is none.
        """
        route = self.find(exchange.path, exchange.method, exchange.host, exchange.headers)
        exchange.route = route
        if route.variables:
            segments = exchange.raw_path.split("/", route.variables[-1][1] + 1)
            exchange.variables = {name: segments[position] for name, position in route.variables}
        return route

    def find(self, path: str, method: str, host: str, headers: Headers) -> CompiledRoute:
        """The route for a canonical path. host: as in the Host header. NoRoute, MethodNotAllowed: there is none."""
        others: list[CompiledRoute] = []
        for index in self._anywhere if self._by_host is None else self._by_host(host):
            for step in index.steps:
                for route in step(path, headers):
                    if route.conditions and not route.met_by(headers):
                        continue
                    if route.methods is None or method in route.methods:
                        return route
                    others.append(route)
        if others:
            raise _not_allowed(method, others)
        raise NoRoute(f"no route matches the path {path} on host {host or '(none)'}")

    def __repr__(self) -> str:
        return f"Table({self.plane!r}, {len(self.routes)} routes)"


def rows(routes: Sequence[Route]) -> list[dict[str, Any]]:
    """The routes of all listeners in the order in which they are matched, as JSON has them.

    A route appears once for each rank that its hosts give it: `hosts` of a row are those of that rank.
    """
    ranked: list[tuple[tuple[object, ...], dict[str, Any]]] = []
    for place, route in enumerate(routes):
        ranks: dict[tuple[int, int], list[str]] = {}
        for host in map(normal, route.hosts):
            ranks.setdefault(order(host), []).append(host)
        pattern = parse(route.path)
        for rank, hosts in (ranks or {ANY_HOST: []}).items():
            ranked.append(((rank, pattern.order, -len(route.headers), place), _row(route, hosts, pattern.kind)))
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])]


def _row(route: Route, hosts: list[str], kind: Kind) -> dict[str, Any]:
    fixed = route.fixed_response
    return {
        "id": route.id,
        "listeners": list(route.listeners),
        "hosts": hosts,
        "path": route.path,
        "match": kind,
        "methods": list(route.methods),
        "headers": dict(route.headers),
        "service": route.service,
        "balancer": route.balancer,
        "split": [{"service": share.service, "weight": share.weight} for share in route.split],
        "fixed_response": None if fixed is None else {"status": fixed.status, "content_type": fixed.content_type},
        "strip_prefix": route.strip_prefix,
        "rewrite": route.rewrite.path if route.rewrite else None,
        "allow_encoded": list(route.allow_encoded),
        "tags": list(route.tags),
    }


def _not_allowed(method: str, routes: Iterable[CompiledRoute]) -> MethodNotAllowed:
    allow = ", ".join(sorted({method for route in routes for method in route.methods or ()}))
    return MethodNotAllowed(f"{method} is not one of {allow}", headers=[("Allow", allow)])
