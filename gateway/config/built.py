"""Which keys are known but not acted on yet: the one table of them, for the loader and the documentation.

Such a key is checked for its type like any other and then refused when it is set to other than its default, so that
nothing that a file says is ever silently ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .document import Document
from .model import Config, Route, Service
from .problems import KeyPath


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """key: a dotted path; `*` is any service or route. A section stands for everything below it.

    built: what is acted on beside the default. works: how the documentation and errors say it.
    """

    key: str
    built: tuple[Any, ...] = ()
    works: str | None = None


NOT_BUILT: tuple[NotBuilt, ...] = (
    NotBuilt("state.engine", ("memory", "node"), "memory, node"),
    NotBuilt("state.redis"),
    NotBuilt("state.on_failure"),
    NotBuilt("defaults.concurrency"),
    NotBuilt("services.*.protocol"),
    NotBuilt("services.*.grpc"),
    NotBuilt("services.*.concurrency"),
    NotBuilt("discovery"),
    NotBuilt("routes.*.auth", ("none",), "default, none"),
    NotBuilt("routes.*.scopes"),
    NotBuilt("routes.*.rate_limit"),
    NotBuilt("routes.*.concurrency"),
    NotBuilt("routes.*.cors"),
    NotBuilt("routes.*.cache"),
    NotBuilt("routes.*.max_response_body"),
    NotBuilt("routes.*.min_rate"),
    NotBuilt("routes.*.mirror"),
    NotBuilt("auth"),
    NotBuilt("rate_limits"),
    NotBuilt("cors"),
    NotBuilt("cache"),
    NotBuilt("tracing"),
    NotBuilt("recorder"),
)  # fmt: skip
_ITEM_DEFAULTS = {"services": Service(), "routes": Route(id="", path="/")}


def row_of(key: str) -> NotBuilt | None:
    """The row that covers a dotted key path, `*` for names and list places: its own, or that of a section above."""
    return next((row for row in NOT_BUILT if key == row.key or key.startswith(f"{row.key}.")), None)


def refuse_unbuilt(config: Config, base: Config, document: Document) -> None:
    """Refuse every key that is set but not built. base: the configuration of an empty file in the same folder."""
    for row in NOT_BUILT:
        first, *rest = row.key.split(".")
        for path, value, default in _values(getattr(config, first), getattr(base, first), (first,), rest):
            if value == default or value in row.built:
                continue
            for where in _differing(value, default, path, row.built):
                if document.given(*where) and document.sound(*where):
                    works = row.works or "its default, so leave it out"
                    document.refuse(where, "this is not built yet", found=document.found(*where), allowed=works)


def _values(value: Any, default: Any, path: KeyPath, keys: list[str]) -> Iterator[tuple[KeyPath, Any, Any]]:
    """(path, value, default) of everything that `keys` leads to."""
    if value is None or not keys:
        if not keys:
            yield path, value, default
    elif keys[0] != "*":
        yield from _values(getattr(value, keys[0]), getattr(default, keys[0]), (*path, keys[0]), keys[1:])
    else:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _values(item, _ITEM_DEFAULTS[str(path[-1])], (*path, key), keys[1:])


def _differing(value: Any, default: Any, path: KeyPath, built: tuple[Any, ...]) -> Iterator[KeyPath]:
    """The deepest keys in which a section is not its default; the key itself where values are enumerated."""
    if built or not dataclasses.is_dataclass(value) or type(value) is not type(default):
        yield path
        return
    for field in dataclasses.fields(value):
        mine, its = getattr(value, field.name), getattr(default, field.name)
        if mine != its:
            yield from _differing(mine, its, (*path, field.name.rstrip("_")), ())
