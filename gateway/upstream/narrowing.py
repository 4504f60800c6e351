"""Which of the instances that may be picked are preferred: by a route's tags, then by zone.

A preference never leaves a request without an instance: where it would leave none, it is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.state.registry import Instance


def narrowed(instances: Sequence[Instance], tags: Sequence[str], zone: str | None) -> Sequence[Instance]:
    """Those that carry every tag, all when none does; of these the ones in `zone`, all of these when none is."""
    if tags:
        wanted = frozenset(tags)
        instances = [one for one in instances if wanted.issubset(one.tags)] or instances
    if zone is not None:
        instances = [one for one in instances if one.zone == zone] or instances
    return instances
