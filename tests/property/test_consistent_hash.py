"""The ring and the bound over any members and weights: what must not move does not, what must not fill does not."""

from __future__ import annotations

from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import Hash
from gateway.exchange import Exchange
from gateway.upstream.balancers.consistent_hash import ConsistentHash
from gateway.upstream.hashing import Ring, probes_of, scale_of
from tests.unit.upstream.balancers.support import FakeLoads
from tests.unit.upstream.support import counting, instances

KEYS = [probes_of(str(at)) for at in range(300)]

members = st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(1, 4), min_size=1)


def owners(ring: Ring, served: dict[str, int]) -> list[str]:
    names = list(ring.places)
    return [names[ring.nearest_of(probes, [name in served for name in names])] for probes in KEYS]


@settings(deadline=None)
@given(members, st.data())
def test_without_one_only_its_keys_have_moved(weights: dict[str, int], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(weights)))
    rest = {name: weight for name, weight in weights.items() if name != gone}
    if rest:
        for before, after in zip(owners(Ring(weights), weights), owners(Ring(rest), rest), strict=True):
            assert after == before or before == gone


@settings(deadline=None)
@given(st.lists(members, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_whatever_came_before_members_have_one_ring(history: list[dict[str, int]], chance: object) -> None:
    ring = Ring(history[0])
    for weights in history:
        ring = ring.over(weights)
        shuffled = sorted(weights, key=lambda _: chance.random())  # type: ignore[attr-defined]
        assert owners(ring, weights) == owners(Ring({name: weights[name] for name in shuffled}), weights)


@settings(deadline=None)
@given(members)
def test_a_look_up_among_all_finds_what_a_walk_finds(weights: dict[str, int]) -> None:
    ring = Ring(weights)
    names = list(ring.places)
    assert [names[ring.nearest(probes)] for probes in KEYS] == owners(ring, weights)


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 1_000_000), min_size=1, max_size=50))
def test_the_scale_is_a_power_of_two_that_the_weights_alone_determine(weights: dict[str, int]) -> None:
    scale = scale_of(weights)
    assert scale.bit_count() == 1
    assert scale_of(dict(reversed(weights.items()))) == scale


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=6),
    st.integers(100, 300),
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=80),
)
def test_the_bound_holds_over_any_schedule(weights: list[int], percent: int, schedule: list[tuple[int, bool]]) -> None:
    loads, among = FakeLoads(**{chr(97 + at): 0 for at in range(len(weights))}), instances(*weights)
    balancer = ConsistentHash(Hash(key="client_ip", bounded_load=percent / 100), counting(), loads)
    choose = balancer.prepare(among)
    for client, begins in schedule:
        if begins:
            exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
            exchange.client = str(client)
            found = choose(exchange)
            total = sum(loads.counts.values()) + 1
            loads.counts[found.id] += 1
            share = percent * total * found.weight
            assert loads.counts[found.id] <= -(-share // (100 * sum(weights))) == ceil(share / (100 * sum(weights)))
        elif loads.counts["a"]:
            loads.counts["a"] -= 1
