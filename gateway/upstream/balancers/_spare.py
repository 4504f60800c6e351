"""Who takes the turn of an instance that failed a request, or refused it.

Not who is next: that would use up a turn more for each such request, and with two instances, one of them broken, every
request would begin at the broken one. So turns go on as if nothing had been, and a spare is drawn by lot among those
that have not failed the request, in proportion to their weights where weights count.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.exchange import Exchange
from gateway.state.registry import Instance


def spare(
    among: Sequence[Instance],
    exchange: Exchange,
    *,
    weighted: bool,
    uniform: Callable[[], float] = random.random,
) -> Instance:
    """One that is not in `exchange.tried`; any when all are. uniform: evenly distributed from 0, below 1."""
    left = [one for one in among if one.key not in exchange.tried] or among
    if not weighted:
        return left[int(uniform() * len(left))]
    point = uniform() * sum(one.weight for one in left)
    for one in left:
        point -= one.weight
        if point < 0:
            return one
    return left[-1]
