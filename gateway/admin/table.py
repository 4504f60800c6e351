"""Which calls a listener carries, and which of them a path is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from urllib.parse import unquote

from gateway.config.model import Admin, Metrics
from gateway.exchange import Plane

from .api import document
from .openapi import describe
from .resources import CALLS, Call, metrics_call
from .schemas import OPENAPI

_PLANES: tuple[Plane, ...] = ("external", "internal")
_escapes = re.compile("%[0-9A-Fa-f]{2}").sub
_is_unreserved = re.compile(r"[A-Za-z0-9\-._~]").fullmatch


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
        self._exact = {_canonical(one.path): one for one in resources if "{" not in one.path}
        self._templates = [(one.path.split("/"), one) for one in resources if "{" in one.path]
        # Most requests on such a listener are not for us: one comparison tells.
        self._prefixes = tuple(one.path.partition("{")[0] for _, one in self._templates)

    def find(self, path: str) -> tuple[Resource, Mapping[str, str]] | None:
        """The resource of a raw path with the values of its variables."""
        canonical = _canonical(path)
        exact = self._exact.get(canonical)
        if exact is not None:
            return exact, {}
        if not canonical.startswith(self._prefixes):
            return None
        segments, raw = canonical.split("/"), path.split("/")  # as many: no slash is ever decoded
        for template, resource in self._templates:
            variables = _matched(template, segments, raw)
            if variables is not None:
                return resource, variables
        return None


def tables(admin: Admin, metrics: Metrics) -> dict[Plane, Table]:
    """The table of each listener that carries a call at all."""
    found: dict[Plane, Table] = {}
    for plane in _PLANES:
        calls = list(CALLS) if plane in admin.listeners else []
        if plane in metrics.listeners:
            calls.append(metrics_call(metrics.path))
        if plane in admin.listeners:
            calls.append(_openapi_call(calls))
        if calls:
            found[plane] = Table(calls)
    return found


def _openapi_call(calls: Sequence[Call]) -> Call:
    """GET /openapi.json describes the calls, and itself. The description is made when somebody asks for it."""
    call = Call(
        method="GET", path="/openapi.json", run=lambda api, request: described(), answer=OPENAPI,
        summary="This description of the admin API.",
    )  # fmt: skip
    described = cache(lambda: document(describe([*calls, call])))
    return call


def _matched(template: list[str], segments: list[str], raw: list[str]) -> dict[str, str] | None:
    """The decoded values of the variables, None when the path is another one."""
    if len(template) != len(segments):
        return None
    variables = {}
    for wanted, segment, sent in zip(template, segments, raw, strict=True):
        if wanted.startswith("{"):
            if not segment:
                return None
            variables[wanted[1:-1]] = unquote(sent)
        elif wanted != segment:
            return None
    return variables


def _canonical(path: str) -> str:
    """As routes compare paths (RFC 3986, 6.2.2): unreserved characters decoded, other escapes in upper case."""
    return _escapes(_change, path) if "%" in path else path


def _change(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if _is_unreserved(character) else found[0].upper()
