"""What a choice costs, and that it does not grow with the instances: `python -m bench.balancers`.

Each balancer chooses among 10 and among 1,000 instances with weights from 1 to 5, over the node engine, for clients all
different. Of the least ones all counts are read, so theirs grows; so does that of bounded load, where the key's own
instance is busy (here one request in flight to each). Reported are the medians over interleaved rounds, in CPU
nanoseconds a choice, and their ratio; the exit code is 1 when it is over 2 for a balancer of which that is promised.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from gateway import plugin
from gateway.clock import SystemClock
from gateway.config.model import Hash, Service, State
from gateway.exchange import Exchange
from gateway.state import engines
from gateway.state.engines import Engine
from gateway.state.inflight import InFlight
from gateway.state.operations.level import LIFT
from gateway.state.operations.sequence import NEXT
from gateway.state.registry import Instance
from gateway.upstream import balancers
from gateway.upstream.balancers import Chooser

ROUNDS = 41
CHOICES = 300  # in a round
FEW_CHOICES = 20  # where they cost hundreds of microseconds
SIZES = (10, 1_000)
LIMIT = 2.0
CONSTANT = ("round_robin", "weighted_round_robin", "random_two", "consistent_hash")

HASH = Hash(key="client_ip")
BOUNDED = Hash(key="client_ip", bounded_load=1.25)


def instances(count: int) -> list[Instance]:
    return [
        Instance(f"s{count}", f"i{at}", f"http://10.0.{at // 250}.{at % 250}:80", weight=1 + at % 5)
        for at in range(count)
    ]


def chooser(kind: str, hash: Hash, count: int, engine: Engine, inflight: InFlight) -> Chooser:
    cursor = engine.record(NEXT, f"balancer/{kind}/{count}")
    made = plugin.load(balancers, kind).build(
        Service(hash=hash),
        cursor=lambda: cursor.apply(NEXT),
        loads=inflight,
        level=lambda key: engine.record(LIFT, f"level/{key}"),
    )
    found: Chooser = made.prepare(instances(count))
    return found


def cost(choose: Chooser, choices: int) -> float:
    """CPU nanoseconds a choice, by clients that have not been seen before."""
    exchanges = []
    for at in range(choices):
        exchanges.append(Exchange({"REQUEST_METHOD": "GET"}, "external"))
        exchanges[-1].client = f"10.{at % 200}.{time.perf_counter_ns() % 1_000_000}"
    start = time.process_time_ns()
    for each in exchanges:
        choose(each)
    return (time.process_time_ns() - start) / choices


def compare(engine: Engine) -> bool:
    inflight = InFlight(engine)
    for count in SIZES:
        for one in instances(count):
            inflight.in_flight[inflight.columns(one.key).in_flight] += 1
    named = [(kind, kind, HASH) for kind in plugin.kinds(balancers)]
    named.append(("  bounded_load", "consistent_hash", BOUNDED))
    choosers = {name: [chooser(kind, hash, count, engine, inflight) for count in SIZES] for name, kind, hash in named}
    found: dict[str, list[list[float]]] = {name: [[] for _ in SIZES] for name in choosers}
    for _ in range(ROUNDS):
        for name, pair in choosers.items():
            for costs, choose in zip(found[name], pair, strict=True):
                costs.append(cost(choose, CHOICES if name in CONSTANT else FEW_CHOICES))
    sys.stdout.write(f"{'a choice, ns':<22}{'among 10':>12}{'1,000':>12}{'ratio':>8}\n")
    within = True
    for name, costs_of in found.items():
        small, large = (statistics.median(costs) for costs in costs_of)
        sys.stdout.write(f"{name:<22}{small:>12.0f}{large:>12.0f}{large / small:>8.2f}\n")
        within = within and (name not in CONSTANT or large / small <= LIMIT)
    return within


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        settings = State(engine="node", path=Path(folder) / "state", max_size=16 * 1024**2)
        engine: Engine = plugin.load(engines, "node").build(settings, clock=SystemClock())
        try:
            return 0 if compare(engine) else 1
        finally:
            engine.close()


if __name__ == "__main__":
    sys.exit(main())
