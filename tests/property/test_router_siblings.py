"""Many routes of one pattern: those that a request's header fields meet are found, in order, and few others."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.siblings import FEW, Siblings

NAMES = ["x-tenant", "x-stage", "accept"]
values = st.sampled_from(["a", "b", "c"])
conditions = st.dictionaries(st.sampled_from(NAMES), st.none() | values, max_size=3)
fields = st.lists(st.tuples(st.sampled_from([*NAMES, "X-Tenant", "Other"]), values), max_size=4)


@dataclass(frozen=True)
class Route:
    conditions: tuple[tuple[str, str | None], ...]
    rank: tuple[int, int]

    def met_by(self, headers: list[tuple[str, str]]) -> bool:
        return all(
            any(found.lower() == name and value in (None, text) for found, text in headers)
            for name, value in self.conditions
        )


def routes(found: list[dict[str, str | None]]) -> list[Route]:
    made = [Route(tuple(one.items()), (-len(one), place)) for place, one in enumerate(found)]
    return sorted(made, key=lambda route: route.rank)


@given(st.lists(conditions, max_size=4 * FEW), fields)
def test_all_that_are_met_are_found_in_order(found, headers):
    entries = routes(found)
    candidates = list(Siblings(entries).candidates(headers))
    assert [one for one in candidates if one.met_by(headers)] == [one for one in entries if one.met_by(headers)]
    assert [one.rank for one in candidates] == sorted(one.rank for one in candidates)


def test_a_thousand_tenants_are_not_tried_one_by_one():
    entries = routes([{"x-tenant": f"t{number}", "x-stage": "live"} for number in range(1000)] + [{}])
    siblings = Siblings(entries)
    headers = [("X-Tenant", "t500"), ("x-stage", "live")]
    assert list(siblings.candidates(headers)) == [entries[500], entries[-1]]
    assert list(siblings.candidates([("X-Tenant", "nobody"), ("X-Stage", "live")])) == [entries[-1]]
    assert list(siblings.candidates([])) == [entries[-1]]
