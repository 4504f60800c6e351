from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import ceil

import pytest

from gateway.config.model import Hash, Service
from gateway.state.registry import Instance
from gateway.upstream.balancers import Chooser
from gateway.upstream.balancers.consistent_hash import ConsistentHash, build
from tests.unit.upstream.balancers.support import FakeLoads, exchange, tried
from tests.unit.upstream.support import counting, instances

CLIENTS = [f"10.0.{at // 250}.{at % 250}" for at in range(2000)]
BY_CLIENT = Hash(key="client_ip")


def balancer(settings: Hash = BY_CLIENT, loads: FakeLoads | None = None) -> ConsistentHash:
    return ConsistentHash(settings, counting(), loads or FakeLoads())


def picks(choose: Chooser) -> list[str]:
    return [choose(exchange(client=client)).id for client in CLIENTS]


def test_a_key_stays_where_it_is() -> None:
    choose, again = balancer().prepare(instances(1, 1, 1)), balancer().prepare(instances(1, 1, 1))
    assert picks(choose) == picks(choose) == picks(again)


def test_the_order_of_instances_means_nothing() -> None:
    among = instances(1, 2, 1, 3)
    assert picks(balancer().prepare(among)) == picks(balancer().prepare(among[::-1]))


def test_an_instance_that_moves_keeps_its_keys() -> None:
    one, two, three = instances(1, 1, 1)
    moved = Instance("echo", "b", "http://10.9.9.9:80")
    choose = balancer().prepare([one, moved, three])
    assert picks(choose) == picks(balancer().prepare([one, two, three]))
    assert any(choose(exchange(client=client)) is moved for client in CLIENTS)


def test_what_another_service_has_by_the_same_id_is_spread_differently() -> None:
    others = [replace(one, service="users", key="") for one in instances(1, 1, 1)]
    assert picks(balancer().prepare(others)) != picks(balancer().prepare(instances(1, 1, 1)))


def test_a_set_that_shrinks_and_grows_again_is_as_it_was() -> None:
    among, kept = instances(*[1] * 10), balancer()
    before = picks(kept.prepare(among))
    for some in (among[1:], among[5:], among[8:], among[:1], among[:3]):
        assert picks(kept.prepare(some)) == picks(balancer().prepare(some))
        assert picks(kept.prepare(among)) == before


def test_a_former_chooser_goes_on_with_its_set() -> None:
    kept, among = balancer(), instances(1, 1, 1)
    former = kept.prepare(among)
    before = picks(former)
    kept.prepare(among[:2])
    kept.prepare([*among, Instance("echo", "z", "http://10.9.9.9:80", weight=900)])
    assert picks(former) == before


def test_the_key_is_the_configured_one_and_the_fallback_s_without_it() -> None:
    choose = balancer(Hash(key="header:X-User", fallback="client_ip")).prepare(instances(*[1] * 10))
    by_user = {choose(exchange(client=client, headers=[("X-User", "ann")])).id for client in CLIENTS[:50]}
    assert len(by_user) == 1
    assert picks(choose) == picks(balancer().prepare(instances(*[1] * 10)))


def test_requests_without_any_key_are_spread_by_weight() -> None:
    choose = balancer(Hash(key="cookie:id")).prepare(instances(6, 3, 1))
    counts = Counter(choose(exchange()).id for _ in range(2000))
    assert all(abs(counts[id] - share) <= 0.15 * share for id, share in (("a", 1200), ("b", 600), ("c", 200)))


def test_one_that_failed_the_request_is_passed_over_along_the_ring() -> None:
    among = instances(1, 1, 1, 1)
    choose = balancer().prepare(among)
    for client in CLIENTS[:200]:
        first = choose(exchange(client=client))
        second = choose(exchange(client=client, tried=(first.key,)))
        assert second is balancer().prepare([one for one in among if one is not first])(exchange(client=client))
    assert choose(tried(*among)) in among


def test_without_a_bound_nobody_s_load_is_read() -> None:
    loads = FakeLoads(a=1000)
    assert picks(balancer(loads=loads).prepare(instances(1, 1))) == picks(balancer().prepare(instances(1, 1)))
    assert loads.read == []


@pytest.mark.parametrize("factor", [1.0, 1.1, 1.25, 2.0])
@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 2, 1), (1,)])
def test_no_instance_gets_more_than_its_bound_however_much_stays(factor: float, weights: tuple[int, ...]) -> None:
    loads, among = FakeLoads(), instances(*weights)
    choose = balancer(Hash(key="client_ip", bounded_load=factor), loads).prepare(among)
    for total in range(1, 60):
        found = choose(exchange(client="10.0.0.1"))  # all of one key
        loads.counts[found.id] = loads.counts.get(found.id, 0) + 1
        bound = ceil(round(factor * total * found.weight / sum(weights), 9))
        assert loads.counts[found.id] <= bound


def test_an_overflowing_key_goes_to_the_same_next_instance() -> None:
    among = instances(*[1] * 8)
    bounded = Hash(key="client_ip", bounded_load=1.25)
    first = balancer(bounded).prepare(among)(exchange(client="10.0.0.1"))
    full = FakeLoads(**{first.id: 9})
    others = {balancer(bounded, full).prepare(among)(exchange(client="10.0.0.1")).id for _ in range(5)}
    without = balancer().prepare([one for one in among if one is not first])
    assert others == {without(exchange(client="10.0.0.1")).id}


def test_a_bound_holds_even_where_the_only_ones_with_room_have_failed_the_request() -> None:
    one, two = instances(1, 1)
    choose = balancer(Hash(key="client_ip", bounded_load=1.0), FakeLoads(a=9)).prepare([one, two])
    assert choose(tried(two)) is two


def test_without_settings_the_client_is_the_key() -> None:
    choose = build(Service(), cursor=counting(), loads=FakeLoads()).prepare(instances(1, 1, 1))
    assert picks(choose) == picks(balancer().prepare(instances(1, 1, 1)))


def test_a_single_instance_needs_no_key() -> None:
    (only,) = instances(1)
    loads = FakeLoads(a=100)
    assert balancer(Hash(key="client_ip", bounded_load=1.0), loads).prepare([only])(exchange()) is only
    assert loads.read == []
