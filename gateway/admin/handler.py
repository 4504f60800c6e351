"""The admin stage: serves the calls of the table on the listeners that carry them; all else goes on to the routes.

The order of the checks: is the path ours, may this caller speak to us at all, is the method, has it the token, is the
body what it should be. Only then the call runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from urllib.parse import unquote

from gateway.config.model import Admin as Settings
from gateway.config.model import Metrics
from gateway.errors import MethodNotAllowed
from gateway.exchange import Answer, Exchange, Plane

from .access import Guard
from .api import Api, Reply, Request, document
from .documents import receive
from .openapi import describe
from .resources import CALLS, Call, metrics_call
from .schemas import OPENAPI


class Resource:
    """All calls of one path. In the record it stands where a route does; no route can have such an id."""

    __slots__ = ("allow", "calls", "id", "path")

    def __init__(self, path: str, calls: Mapping[str, Call]) -> None:
        self.id = f"admin:{path}"
        self.path = path
        self.calls = dict(calls)
        if "GET" in self.calls:
            self.calls["HEAD"] = self.calls["GET"]
        self.allow = ", ".join(sorted(self.calls))


class Table:
    """The resources of one listener, by path."""

    def __init__(self, calls: Iterable[Call]) -> None:
        grouped: dict[str, dict[str, Call]] = {}
        for call in calls:
            grouped.setdefault(call.path, {})[call.method] = call
        resources = [Resource(path, found) for path, found in grouped.items()]
        self._exact = {one.path: one for one in resources if "{" not in one.path}
        self._templates = [(one.path.split("/"), one) for one in resources if "{" in one.path]
        # Most requests on such a listener are not for us: one comparison tells.
        self._prefixes = tuple(one.path.partition("{")[0] for _, one in self._templates)

    def find(self, path: str) -> tuple[Resource, Mapping[str, str]] | None:
        """The resource of a raw path with the values of its variables."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        if not path.startswith(self._prefixes):
            return None
        segments = path.split("/")
        for template, resource in self._templates:
            variables = _matched(template, segments)
            if variables is not None:
                return resource, variables
        return None


class Admin:
    """A stage; see `pipeline`. hosts: see `access.allowed_hosts`.

    `listeners` are those with a call at all: the others need no such stage.
    """

    def __init__(self, api: Api, settings: Settings, metrics: Metrics, hosts: Iterable[str]) -> None:
        self._api = api
        self._guard = Guard(settings.token, settings.register_token, hosts)
        self._tables: dict[Plane, Table] = {}
        planes: tuple[Plane, ...] = ("external", "internal")
        for plane in planes:
            calls = list(CALLS) if plane in settings.listeners else []
            if plane in metrics.listeners:
                calls.append(metrics_call(metrics.path))
            if plane in settings.listeners:
                calls.append(_openapi_call(calls))
            if calls:
                self._tables[plane] = Table(calls)

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


def _openapi_call(calls: Sequence[Call]) -> Call:
    """GET /openapi.json describes the calls, and itself. The description is made when somebody asks for it."""
    call = Call(
        method="GET", path="/openapi.json", run=lambda api, request: described(), answer=OPENAPI,
        summary="This description of the admin API.",
    )  # fmt: skip
    described = cache(lambda: document(describe([*calls, call])))
    return call


def _matched(template: list[str], segments: list[str]) -> dict[str, str] | None:
    """The decoded values of the variables, None when the path is another one."""
    if len(template) != len(segments):
        return None
    variables = {}
    for wanted, segment in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            if not segment:
                return None
            variables[wanted[1:-1]] = unquote(segment)
        elif wanted != segment:
            return None
    return variables


def _answer(reply: Reply, method: str) -> Answer:
    headers = [("Cache-Control", "no-store")]
    if reply.content_type is not None:
        headers += [("Content-Type", reply.content_type), ("Content-Length", str(len(reply.body)))]
    return Answer(reply.status, headers, [b"" if method == "HEAD" else reply.body])
