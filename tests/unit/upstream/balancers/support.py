"""What balancers are asked with, and what they see of the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.exchange import Exchange
from gateway.state.registry import Instance


class FakeLoads:
    """A `Loads` whose numbers are set by instance id. read: keys that readers were asked for, in order."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts
        self.read: list[str] = []

    def read_in_flight(self, keys: Sequence[str]) -> Callable[[], list[int]]:
        ids = [key.partition("/")[2].partition("@")[0] for key in keys]

        def read() -> list[int]:
            self.read += ids
            return [self.counts.get(id, 0) for id in ids]

        return read

    read_requests = read_in_flight


def exchange(**fields: Any) -> Exchange:
    made = Exchange({"REQUEST_METHOD": "GET"}, "external")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def tried(*instances: Instance) -> Exchange:
    """A request that failed on these instances."""
    return exchange(tried=tuple(instance.key for instance in instances))
