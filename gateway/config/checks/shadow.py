"""Routes that no request can reach, because others that go before them take everything.

The order: host, then exact path, longest template or prefix, regex; then most header conditions; then the file's. So
of two routes of one host with the same path, the earlier shadows the later when it asks for no more: the same header
conditions, or "*" where the later asks for a value, and no methods or all of the later's. Besides, `/*` takes all that
a regular expression of the same host could, whatever their place in the file.

A route counts as shadowed when each listener, host and method that it names is taken by some other route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from ..document import Document
from ..model import Config, Route

_ANY = ""  # for a route without hosts, or without methods
_Conditions = frozenset[tuple[str, str]]
_Taken = dict[
    tuple[str, str, object, str], dict[_Conditions, int]
]  # (listener, host, shape, method) -> conditions -> route
_MOST_CONDITIONS = 5  # of a route that is compared in every variation: 3**5 look-ups
_EVERYTHING = ("everything",)


def nothing_is_shadowed(config: Config, document: Document) -> None:
    routes = [
        (number, route, document.pattern(route.path))
        for number, route in enumerate(config.routes)
        if document.sound("routes", number)
    ]
    taken: _Taken = {}
    for number, route, pattern in routes:
        if pattern.everything and pattern.kind == "prefix":
            _take(taken, number, route, _EVERYTHING)
    for number, route, pattern in routes:
        other = _taker(taken, route, pattern.shape, exact=True)
        if other is None and pattern.kind == "regex":
            other = _taker(taken, route, _EVERYTHING, exact=False)
            if other is None:
                other = _taker(taken, route, ("regex", _ANY), exact=True)
        if other is not None:
            name = document.found("routes", other, "id")
            why = f"no request can match: route {name} in {document.place('routes', other)} takes all of them"
            document.refuse(("routes", number), why)
            continue
        _take(taken, number, route, pattern.shape)
        if pattern.kind == "regex" and pattern.everything:
            _take(taken, number, route, ("regex", _ANY))


def _take(taken: _Taken, number: int, route: Route, shape: object) -> None:
    conditions = _conditions(route.headers)
    for listener, host, method in _requests(route):
        taken.setdefault((listener, host, shape, method), {}).setdefault(conditions, number)


def _taker(taken: _Taken, route: Route, shape: object, *, exact: bool) -> int | None:
    """The route that takes the last of this route's requests, when all are taken.

    exact: by routes with as many header conditions as it has.
    """
    found: int | None = None
    variations = list(_variations(_conditions(route.headers), exact))
    for listener, host, method in _requests(route):
        found = None
        for one in (method, _ANY):
            known = taken.get((listener, host, shape, one))
            if known:
                found = next((known[conditions] for conditions in variations if conditions in known), found)
        if found is None:
            return None
    return found


def _requests(route: Route) -> Iterator[tuple[str, str, str]]:
    """(listener, host, method) of everything that the route names. GET also answers HEAD."""
    methods = set(route.methods) | ({"HEAD"} if "GET" in route.methods else set())
    return product(route.listeners, route.hosts or (_ANY,), sorted(methods) or (_ANY,))


def _conditions(headers: Mapping[str, str]) -> _Conditions:
    return frozenset((name.lower(), value) for name, value in headers.items())


def _variations(conditions: _Conditions, exact: bool) -> Iterator[_Conditions]:
    """All conditions that are met whenever these are: a value or "*", or, unless exact, nothing."""
    if len(conditions) > _MOST_CONDITIONS:
        yield conditions
        return
    weaker = [[(name, value), (name, "*"), *(() if exact else (None,))] for name, value in conditions]
    for chosen in product(*weaker):
        yield frozenset(one for one in chosen if one is not None)
