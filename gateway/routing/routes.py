"""A route prepared: all that its configuration says, as the stages need it, so that they only read attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

from ..config.model import FixedResponse, HeaderEdits, Route
from ..exchange import Answer, Headers
from .patterns import Pattern, parse
from .rewrite import Rewriting, replace_path, strip_prefix
from .split import NextInSequence, Split

V = TypeVar("V")
CompileEdits = Callable[[HeaderEdits], object]
"""Brings header edits into the form that forwarding applies. ValueError: they cannot be applied."""

_variable = re.compile(r"\{([^{}]*)\}").fullmatch
_WITHOUT_BODY = (204, 205, 304)


class RouteError(ValueError):
    """A route that cannot be built. route: its id. key: the key at fault, such as `rewrite.path`."""

    def __init__(self, route: str, key: str, message: str) -> None:
        super().__init__(f"route {route!r}, {key}: {message}")
        self.route = route
        self.key = key
        self.message = message


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """Immutable; shared by all threads.

    rank: orders routes with the same path pattern: header conditions (negative: most first), place in the file.
    methods: None takes all. conditions: lower-case header name and value, None: any value.
    Of service, service_position (of the variable that names it in `path.split("/")`), choose and fixed one is set.
    rewrite: raw path to the raw path to forward; None: as sent.
    request_headers and response_headers: what `compile_edits` makes of the route's edits; None: it has none.
    timeouts and retries hold only the keys that the route names; None: none. Everything else is in `source`.
    """

    # What every match reads comes first: it lies in one cache line.
    conditions: tuple[tuple[str, str | None], ...]
    methods: frozenset[str] | None
    variables: tuple[tuple[str, int], ...]
    service: str | None
    rewrite: Rewriting | None
    id: str
    source: Route
    pattern: Pattern
    rank: tuple[int, int]
    allow_encoded: frozenset[str]
    service_position: int | None
    choose: Callable[[], str] | None
    fixed: Callable[[str], Answer] | None
    request_headers: Any
    response_headers: Any
    preserve_host: bool
    timeouts: Mapping[str, float] | None
    retries: Mapping[str, Any] | None
    balancer: str | None
    tags: tuple[str, ...]
    max_request_body: int | None
    max_response_body: int | None
    min_rate: int | None

    def met_by(self, headers: Headers) -> bool:
        """Whether every header condition holds; of a repeated header one line is enough."""
        for name, value in self.conditions:
            for found, text in headers:
                if found.lower() == name and (value is None or value == text):
                    break
            else:
                return False
        return True

    def __repr__(self) -> str:
        return f"CompiledRoute({self.id!r}, {self.pattern.text!r})"


def compile_route(
    route: Route,
    place: int,
    next_in_sequence: NextInSequence | None = None,
    compile_edits: CompileEdits = lambda edits: edits,
) -> CompiledRoute:
    """Prepare one route; `place` is its position in the file. RouteError says which key is wrong and why."""
    with _blaming(route, "path"):
        pattern = parse(route.path)
        if missing := pattern.forms - set(route.allow_encoded):
            raise ValueError(f"holds {' and '.join(sorted(missing))}, which allow_encoded does not name")
    methods = {method.upper() for method in route.methods}
    if "GET" in methods:
        methods.add("HEAD")
    service, service_position = _service(route, pattern)
    return CompiledRoute(
        id=route.id,
        source=route,
        pattern=pattern,
        rank=(-len(route.headers), place),
        methods=_one(frozenset(methods)) or None,
        conditions=_one(tuple((key.lower(), None if value == "*" else value) for key, value in route.headers.items())),
        variables=_one(pattern.variables),
        allow_encoded=frozenset(route.allow_encoded),
        service=service,
        service_position=service_position,
        choose=_split(route, next_in_sequence),
        fixed=None if route.fixed_response is None else _fixed(route, route.fixed_response),
        rewrite=_rewriting(route, pattern),
        request_headers=_edits(route, "request_headers", compile_edits),
        response_headers=_edits(route, "response_headers", compile_edits),
        preserve_host=route.preserve_host,
        timeouts=route.timeouts,
        retries=route.retries,
        balancer=route.balancer,
        tags=route.tags,
        max_request_body=route.max_request_body,
        max_response_body=route.max_response_body,
        min_rate=route.min_rate,
    )


class _Fixed:
    """Makes the configured answer, anew each time: the edge adds header fields to it."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, fixed: FixedResponse) -> None:
        self._status = fixed.status
        self._body = fixed.body.encode()
        self._headers: tuple[tuple[str, str], ...] = ()
        if fixed.status not in _WITHOUT_BODY:
            self._headers = (("Content-Type", fixed.content_type), ("Content-Length", str(len(self._body))))

    def __call__(self, method: str) -> Answer:
        return Answer(self._status, list(self._headers), [b"" if method == "HEAD" else self._body])


@lru_cache(maxsize=1024)
def _one(value: V) -> V:
    """The same object for equal values: what many routes share stays in the CPU's caches."""
    return value


@contextmanager
def _blaming(route: Route, key: str) -> Iterator[None]:
    """Turn a ValueError into a RouteError."""
    try:
        yield
    except ValueError as error:
        raise RouteError(route.id, key, str(error)) from None


def _service(route: Route, pattern: Pattern) -> tuple[str | None, int | None]:
    """The service's name, or the position of the variable that names it."""
    if (route.service is not None) + bool(route.split) + (route.fixed_response is not None) != 1:
        raise RouteError(route.id, "service", "a route has exactly one of service, split and fixed_response")
    found = _variable(route.service or "")
    if not found:
        return route.service, None
    position = pattern.position(found[1])
    if position is None:
        raise RouteError(route.id, "service", f"{found[0]} is no variable of {pattern.text!r}")
    return None, position


def _split(route: Route, next_in_sequence: NextInSequence | None) -> Split | None:
    if not route.split:
        return None
    with _blaming(route, "split"):
        return Split(f"split:{route.id}", route.split, next_in_sequence)


def _fixed(route: Route, fixed: FixedResponse) -> _Fixed:
    if not 200 <= fixed.status <= 599:
        raise RouteError(route.id, "fixed_response.status", f"{fixed.status} is not from 200 to 599")
    if fixed.body and fixed.status in _WITHOUT_BODY:
        raise RouteError(route.id, "fixed_response.body", f"an answer with status {fixed.status} has no body")
    return _Fixed(fixed)


def _edits(route: Route, key: Literal["request_headers", "response_headers"], compile_edits: CompileEdits) -> object:
    edits: HeaderEdits | None = getattr(route.rewrite, key, None)
    if edits is None or not (edits.set or edits.remove):
        return None
    with _blaming(route, f"rewrite.{key}"):
        return compile_edits(edits)


def _rewriting(route: Route, pattern: Pattern) -> Rewriting | None:
    path = route.rewrite.path if route.rewrite else None
    if route.strip_prefix is None and path is None:
        return None
    if route.strip_prefix is not None and path is not None:
        raise RouteError(route.id, "strip_prefix", "rewrite.path replaces the whole path: use one of the two")
    if path is None:
        with _blaming(route, "strip_prefix"):
            return strip_prefix(route.strip_prefix or "", pattern)
    with _blaming(route, "rewrite.path"):
        return replace_path(path, pattern)
