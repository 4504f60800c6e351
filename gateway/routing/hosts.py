"""Which routes a host has: those for exactly it, then those of the wildcards it falls under, then those for any.

`*.example.com` stands for one or more labels before `example.com`, not for `example.com` itself. Of several wildcards
the longest goes first. Hosts are compared without port and final dot, whatever their case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")


def normal(authority: str) -> str:
    """The host of an authority (`Host` header) or of a configuration: lower case, without port and final dot."""
    host = authority.lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0].removesuffix(".")


def order(host: str) -> tuple[int, int]:
    """Sorts configured hosts: exact ones (equal: no two of them match one request), longest wildcards first."""
    return (1, -len(host)) if host.startswith("*.") else (0, 0)


ANY_HOST = (2, 0)
"""Sorts behind all of `order`."""


class ByHost(Generic[V]):
    """Finds the values for a host, most specific first. values: by host in its normal form. Immutable."""

    __slots__ = ("_any", "_exact", "_wildcards")

    def __init__(self, values: Mapping[str, V], anywhere: Iterable[V]) -> None:
        self._any = tuple(anywhere)
        self._exact = {host: value for host, value in values.items() if not host.startswith("*.")}
        self._wildcards = {host[1:]: value for host, value in values.items() if host.startswith("*.")}

    def __call__(self, authority: str) -> tuple[V, ...]:
        host = normal(authority)
        found = [self._exact[host]] if host in self._exact else []
        if self._wildcards:
            dot = host.find(".", 1)
            while dot > 0:
                value = self._wildcards.get(host[dot:])
                if value is not None:
                    found.append(value)
                dot = host.find(".", dot + 1)
        return (*found, *self._any) if found else self._any
