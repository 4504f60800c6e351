"""What matching costs, and that it does not grow with the table: `python -m bench.routing`.

Tables of 10 and of 10,000 routes are made of the same kinds in the same shares (exact, prefix, template; a tenth for a
host) and asked for the same mix: for each kind paths that hit, all over the table, and paths that nothing matches. Of
the large table one route in a hundred is a regex, in the ways that regexes are written. Reported are the medians over
interleaved rounds, in CPU nanoseconds a match, and their ratio; the exit code is 1 when it is over 1.5.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

from gateway.config.model import Route
from gateway.errors import Refusal
from gateway.exchange import Answer, Exchange
from gateway.routing.stage import Router
from gateway.routing.table import Table

ROUNDS = 41
MATCHES = 600  # of a kind in a round
AT_ONCE = 32
LIMIT = 1.5

Ask = tuple[str, str]  # path, host


def routes(count: int) -> list[Route]:
    """`count` routes: 3 in 10 exact, 4 prefixes, 2 templates, 1 for a host; one in a hundred of them a regex."""
    made = []
    for number in range(count):
        hosts = (f"host{number}.example.com",) if number % 10 == 9 else ()
        made.append(Route(id=f"r{number}", path=_path(number), hosts=hosts, service="s"))
    return made


def _path(number: int) -> str:
    if number % 100 == 50:
        written = number // 100 % 4
        return (
            f"~^/rx{number}/[0-9]+$", f"~^/v[0-9]+/svc{number}/", f"~/(us|eu){number}/items", f"~^/[a-z]+/x{number}$",
        )[written]  # fmt: skip
    match number % 10:
        case 0 | 1 | 2:
            return f"/exact/{number}/page"
        case 3 | 4 | 5 | 6:
            return f"/svc{number}/*"
        case 7 | 8:
            return f"/res{number}/{{id}}/parts/{{part}}"
        case _:
            return "/*"


def asks(count: int, amount: int) -> dict[str, list[Ask]]:
    """For each kind, requests that hit a route of a table of `count`, evenly over it, or that miss all of them."""

    def paths(digits: tuple[int, ...], write: Callable[[int], Ask]) -> list[Ask]:
        numbers = [number for number in range(count) if number % 10 in digits and number % 100 != 50]
        return [write(random.choice(numbers)) for _ in range(amount)]

    return {
        "exact": paths((0, 1, 2), lambda number: (f"/exact/{number}/page", "localhost:8000")),
        "prefix": paths((3, 4, 5, 6), lambda number: (f"/svc{number}/some/file.html", "localhost:8000")),
        "template": paths((7, 8), lambda number: (f"/res{number}/{number * 7}/parts/1", "localhost:8000")),
        "host": paths((9,), lambda number: ("/any/path", f"host{number}.example.com")),
        "miss": [(f"/none{random.randrange(10**6)}/of/these", "localhost:8000") for _ in range(amount)],
        "near miss": paths((7, 8), lambda number: (f"/res{number}/{number}/pieces", "localhost:8000")),
        "regex miss": [(f"/v{random.randrange(10**6)}/svc/x", "localhost:8000") for _ in range(amount)],
    }


def exchange(ask: Ask) -> Exchange:
    made = Exchange({"REQUEST_METHOD": "GET"}, "external")
    made.raw_path = made.path = "/" + ask[0][1:]
    made.host = ask[1]
    made.headers = [("Host", ask[1]), ("User-Agent", "bench"), ("Accept", "*/*")]
    return made


def cost(act: Callable[[Exchange], object], requests: list[Ask]) -> float:
    """CPU nanoseconds a call.

    Exchanges are made anew and a few at a time, as a server has them: strings without hashes, in memory just used.
    """
    spent = 0
    for first in range(0, len(requests), AT_ONCE):
        exchanges = [exchange(ask) for ask in requests[first : first + AT_ONCE]]
        start = time.process_time_ns()
        for each in exchanges:
            try:
                act(each)
            except Refusal:  # part of what a miss costs
                continue
        spent += time.process_time_ns() - start
    return spent / len(requests)


def compare() -> bool:
    random.seed(1)
    sizes = (10, 10_000)
    tables = {size: Table(routes(size), "external") for size in sizes}
    found: dict[str, dict[int, list[float]]] = {}
    for _ in range(ROUNDS):
        for size in sizes:
            together = []
            for kind, some in asks(size, MATCHES).items():
                found.setdefault(kind, {size: [] for size in sizes})
                found[kind][size].append(cost(tables[size].match, some))
                together.append(found[kind][size][-1])
            found.setdefault("all", {size: [] for size in sizes})[size].append(statistics.mean(together))
    sys.stdout.write(f"{'matching, ns':<12}{'10 routes':>12}{'10,000':>12}{'ratio':>8}\n")
    for kind, by_size in found.items():
        small, large = (statistics.median(by_size[size]) for size in sizes)
        sys.stdout.write(f"{kind:<12}{small:>12.0f}{large:>12.0f}{large / small:>8.2f}\n")
    small, large = (statistics.median(found["all"][size]) for size in sizes)
    return large / small <= LIMIT


def stage() -> None:
    table = Table(routes(10), "external")
    router = Router({"external": table})
    answer = Answer(200, [], [b""])

    def act(one: Exchange) -> Answer:
        return router(one, lambda _: answer)

    plain = [("/svc3/some/file.html", "localhost:8000")] * MATCHES
    took = statistics.median(cost(act, plain) for _ in range(ROUNDS))
    sys.stdout.write(f"the whole stage for a plain GET by prefix: {took:.0f} ns\n")


def main() -> int:
    within = compare()
    stage()
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
