"""The stage that decides which route a request takes, which service that is, and what the backend is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from werkzeug.wrappers import Request

from ..config.model import Route
from ..errors import BadPath, InternalError, MethodNotAllowed, NoRoute, Refusal, UnknownService
from ..exchange import Answer, Exchange, Plane
from .paths import NO_FORMS, canonical, plain, readings
from .routes import CompiledRoute, compile_route
from .table import Table

FUNCTION_ROUTE = "routing.function"
"""The id that requests are told under whose service `routing.function` chose."""

Function = Callable[[Request], str | None]

_log = structlog.get_logger("gateway.routing")


class Router:
    """A stage; see `pipeline`.

    tables: one for each listener there is. function: `routing.function`, asked before the tables; what it gets is made
    from the WSGI environ and cannot read the body. knows: whether a service that it names exists; None: any does.
    """

    def __init__(
        self,
        tables: Mapping[Plane, Table],
        function: Function | None = None,
        knows: Callable[[str], bool] | None = None,
    ) -> None:
        self._tables = dict(tables)
        self._function = function
        self._knows = knows
        self._chosen = compile_route(Route(id=FUNCTION_ROUTE, path="/*", service=FUNCTION_ROUTE), 0)

    def __call__(self, exchange: Exchange, proceed: Callable[[Exchange], Answer]) -> Answer:
        raw = exchange.raw_path
        if plain(raw):
            exchange.path = raw
            forms = NO_FORMS
        else:
            exchange.path, forms = _canonical(raw)
        if self._function is not None and (service := self._ask(self._function, exchange)) is not None:
            _refuse(forms)
            exchange.route = self._chosen
            exchange.service_name = service
            path = raw
        else:
            table = self._tables[exchange.plane]
            try:
                route = table.match(exchange)
            except NoRoute:
                _refuse(forms)  # what is wrong with the path tells more than that nothing matches it
                raise
            if forms:
                _refuse(forms - route.allow_encoded)
                _refuse_detour(table, route, exchange)
            if route.service is not None:
                exchange.service_name = route.service
            elif route.service_position is not None:
                exchange.service_name = exchange.path.split("/")[route.service_position]
            elif route.choose is not None:
                exchange.service_name = route.choose()
            elif route.fixed is not None:
                return route.fixed(exchange.method)
            path = raw if route.rewrite is None else route.rewrite(raw)
        exchange.target = path if exchange.query is None else f"{path}?{exchange.query}"
        return proceed(exchange)

    def _ask(self, function: Function, exchange: Exchange) -> str | None:
        """The service that the operator's function names. Refusals (a client that left) pass, all else is its fault."""
        try:
            service = function(Request(dict(exchange.environ), populate_request=False, shallow=True))
        except Refusal:
            raise
        except Exception as error:
            _log.exception("routing_function_failed", request_id=exchange.request_id)
            raise InternalError from error
        if service is None:
            return None
        if not isinstance(service, str):
            _log.error("routing_function_no_name", request_id=exchange.request_id, answer=repr(service))
            raise InternalError
        if self._knows is not None and not self._knows(service):
            raise UnknownService(f"there is no service {service!r}")
        return service


def _canonical(raw: str) -> tuple[str, frozenset[str]]:
    if raw == "*":
        raise NoRoute("OPTIONS * asks about the gateway itself, which no route answers")
    return canonical(raw)


def _refuse(forms: frozenset[str]) -> None:
    if forms:
        raise BadPath(f"the path holds {' and '.join(sorted(forms))}, which the route's allow_encoded does not name")


def _refuse_detour(table: Table, route: CompiledRoute, exchange: Exchange) -> None:
    """Refuse a path that a backend may take for one with a rule of its own.

    Were `/*` to allow %2F, `/admin%2Fx` would get to a backend that decodes it round the rule for `/admin/*`. So when
    another reading of the path has a route that goes before the matched one, the request is refused.
    """
    for reading in readings(exchange.path):
        try:
            other = table.find(reading, exchange.method, exchange.host, exchange.headers)
        except (NoRoute, MethodNotAllowed):
            continue
        if other is not route and other.pattern.order < route.pattern.order:
            raise BadPath(f"the path can also be read as {reading}, which another route takes")
