"""The admin stage: serves the calls of the table on the listeners that carry them; all else goes on to the routes.

The order of the checks: is the path ours, may this caller speak to us at all, is the method, has it the token, is the
body what it should be. Only then the call runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.config.model import Admin as Settings
from gateway.config.model import Metrics
from gateway.errors import MethodNotAllowed
from gateway.exchange import Answer, Exchange, Plane

from .access import Guard
from .api import Api, Reply, Request
from .documents import receive
from .table import tables


class Admin:
    """A stage; see `pipeline`. hosts: see `access.allowed_hosts`.

    `listeners` are those with a call at all: the others need no such stage.
    """

    def __init__(self, api: Api, settings: Settings, metrics: Metrics, hosts: Iterable[str]) -> None:
        self._api = api
        self._guard = Guard(settings.token, settings.register_token, hosts)
        self._tables = tables(settings, metrics)

    @property
    def listeners(self) -> frozenset[Plane]:
        return frozenset(self._tables)

    def __call__(self, exchange: Exchange, proceed: Callable[[Exchange], Answer]) -> Answer:
        table = self._tables.get(exchange.plane)
        found = None if table is None else table.find(exchange.raw_path)
        if found is None:
            return proceed(exchange)
        resource, variables = found
        exchange.route = resource
        self._guard.check_caller(exchange)
        call = resource.calls.get(exchange.method)
        if call is None:
            detail = f"{resource.path} takes {resource.allow}"
            raise MethodNotAllowed(detail, headers=[("Allow", resource.allow)])
        with_token = self._guard.check_token(exchange, call.access)
        content = None if call.body is None else receive(exchange)
        return _answer(call.run(self._api, Request(variables, content, exchange.client, with_token)), exchange.method)


def _answer(reply: Reply, method: str) -> Answer:
    headers = [("Cache-Control", "no-store")]
    if reply.content_type is not None:
        headers += [("Content-Type", reply.content_type), ("Content-Length", str(len(reply.body)))]
    return Answer(reply.status, headers, [b"" if method == "HEAD" else reply.body])
