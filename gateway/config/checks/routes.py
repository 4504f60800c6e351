"""Rules for one route at a time, and for the names that it uses."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from .. import patterns
from ..document import Document
from ..model import Config, Route
from ..problems import KeyPath

_ONE = "one of service, split, fixed_response"
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
# What delimits messages is the server's and the forwarder's alone: RFC 9110, 7.6.1 and 8.6; RFC 9112, 6.1
_FRAMING = {
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


def ids_differ(config: Config, document: Document) -> None:
    seen: dict[str, int] = {}
    for number, route in enumerate(config.routes):
        path = ("routes", number, "id")
        if document.sound(*path):
            first = seen.setdefault(route.id, number)
            if first != number:
                there = document.place("routes", first, "id")
                document.refuse(path, f"another route has this id, in {there}", found=document.found(*path))


def one_target(config: Config, document: Document) -> None:
    for number, route in enumerate(config.routes):
        targets = ("service", "split", "fixed_response")
        if not all(document.sound("routes", number, key) for key in targets):
            continue
        set_ = [key for key in targets if getattr(route, key)]
        if not set_:
            document.refuse(
                ("routes", number), "the route leads nowhere", allowed="one of service, split, fixed_response"
            )
        elif len(set_) > 1:
            document.refuse(("routes", number, set_[1]), f"the route has {set_[0]} already", allowed=_ONE)


def names_exist(config: Config, document: Document) -> None:
    """Services, rate limits and CORS rules that routes name."""
    for number, route in enumerate(config.routes):
        for path, name in _services_named(number, route):
            _refuse_unknown(document, path, name, config.services, "service")
        for place, name in enumerate(route.rate_limit or ()):
            one = document.found("routes", number, "rate_limit") not in (None, "a list")
            path = ("routes", number, "rate_limit") if one else ("routes", number, "rate_limit", place)
            _refuse_unknown(document, path, name, config.rate_limits, "rate limit")
        if route.cors is not None:
            _refuse_unknown(document, ("routes", number, "cors"), route.cors, config.cors, "cors rule")
        if route.split and not any(share.weight for share in route.split) and document.sound("routes", number, "split"):
            document.refuse(("routes", number, "split"), "every weight is 0", allowed="at least one above 0")


def _services_named(number: int, route: Route) -> Iterator[tuple[KeyPath, str]]:
    path: KeyPath = ("routes", number)
    if route.service is not None and not _TEMPLATE.search(route.service):
        yield (*path, "service"), route.service
    for place, share in enumerate(route.split):
        yield (*path, "split", place, "service"), share.service
    if route.mirror:
        yield (*path, "mirror", "service"), route.mirror.service


def _refuse_unknown(document: Document, path: KeyPath, name: str, known: Collection[str], kind: str) -> None:
    if name in known or not document.sound(*path):
        return
    written = document.found(*path) or ""
    likely = None if "${" in written else document.near(name, list(known))
    listed = ", ".join(known) if 0 < len(known) <= 10 else None
    document.refuse(path, f"there is no such {kind}", found=written, allowed=listed, likely=likely)


def variables_exist(config: Config, document: Document) -> None:
    """A service named by a variable, and the variables of rewrite.path, are in the path."""
    for number, route in enumerate(config.routes):
        if not document.sound("routes", number, "path"):
            continue
        pattern = document.pattern(route.path)
        path: KeyPath = ("routes", number, "service")
        template = _TEMPLATE.search(route.service) if route.service and document.sound(*path) else None
        if template and template[0] != route.service:
            found = document.found(*path)
            document.refuse(path, "a variable is the whole name of the service", found=found, allowed="{name}")
        elif template and template[1] not in pattern.variables:
            _refuse_variable(document, path, pattern)
        path = ("routes", number, "rewrite", "path")
        if route.rewrite and route.rewrite.path and document.sound(*path):
            names, keeps_rest = patterns.parse_rewrite(route.rewrite.path)
            if not names <= set(pattern.variables):
                _refuse_variable(document, path, pattern)
            if keeps_rest and pattern.kind != "prefix":
                found = document.found(*path)
                document.refuse(path, "only a path that ends in /* has a rest to put in for *", found=found)


def _refuse_variable(document: Document, path: KeyPath, pattern: patterns.Pattern) -> None:
    allowed = ", ".join(f"{{{name}}}" for name in pattern.variables) or "none: the path has no variable"
    written = document.found(*path[:2], "path") or ""
    why = "the path has no such variable"
    document.refuse(path, why, found=document.found(*path), allowed=None if "${" in written else allowed)


def prefixes_fit(config: Config, document: Document) -> None:
    """What is to be stripped is what the path begins with."""
    for number, route in enumerate(config.routes):
        path: KeyPath = ("routes", number, "strip_prefix")
        if route.strip_prefix is None or not (document.sound(*path) and document.sound("routes", number, "path")):
            continue
        pattern, stripped = document.pattern(route.path), patterns.parse_prefix(route.strip_prefix)
        if pattern.kind == "regex":
            if stripped.variables:
                document.refuse(path, "a regular expression has no variables", found=document.found(*path))
            continue
        segments = stripped.segments if stripped.segments != ("",) else ()
        begins = pattern.segments[: len(segments)] == segments
        if not begins or pattern.variables[: len(stripped.variables)] != stripped.variables:
            document.refuse(path, "not what the path begins with", found=document.found(*path))


def one_rewriting(config: Config, document: Document) -> None:
    """`rewrite.path` replaces the whole path, so there is nothing left to strip."""
    for number, route in enumerate(config.routes):
        path: KeyPath = ("routes", number, "strip_prefix")
        if route.strip_prefix is not None and route.rewrite is not None and route.rewrite.path is not None:
            why = "rewrite.path replaces the whole path: use one of the two"
            document.refuse(path, why, found=document.found(*path))


def fixed_responses_can_be_sent(config: Config, document: Document) -> None:
    """Some statuses have no body (RFC 9110, 6.4.1)."""
    for number, route in enumerate(config.routes):
        fixed = route.fixed_response
        if fixed is not None and fixed.body and fixed.status in (204, 205, 304):
            why = f"an answer with status {fixed.status} has no body"
            document.refuse(("routes", number, "fixed_response", "body"), why)


def encoded_forms_are_allowed(config: Config, document: Document) -> None:
    for number, route in enumerate(config.routes):
        for key, text in (("path", route.path), ("strip_prefix", route.strip_prefix)):
            path: KeyPath = ("routes", number, key)
            if text and document.sound(*path) and document.sound("routes", number, "allow_encoded"):
                missing = document.pattern(text).forms - set(route.allow_encoded)
                if missing:
                    forms = ", ".join(sorted(missing))
                    why = f"no request can match: paths with {forms} are refused unless allow_encoded names it"
                    document.refuse(path, why, found=document.found(*path))


def framing_is_left_alone(config: Config, document: Document) -> None:
    places: list[tuple[KeyPath, Collection[str]]] = [(("server", "security_headers"), config.server.security_headers)]
    for number, route in enumerate(config.routes):
        if route.rewrite:
            for key in ("request_headers", "response_headers"):
                edits = getattr(route.rewrite, key)
                places.append((("routes", number, "rewrite", key, "set"), edits.set))
                for place, name in enumerate(edits.remove):
                    places.append((("routes", number, "rewrite", key, "remove", place), [name]))
    for path, names in places:
        for name in names:
            if name.lower() in _FRAMING and document.sound(*path):
                document.refuse(
                    (*path, name) if isinstance(path[-1], str) else path, f"{name} is the gateway's own to set"
                )
