from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

import pytest

from gateway.upstream.hashing import MAX_POINTS, POINTS, Ring, probes_of, scale_of

KEYS = [f"10.{at % 7}.{at // 250}.{at % 250}" for at in range(20_000)]
PROBES = [probes_of(key) for key in KEYS]


def members(count: int, weight: int = 1) -> dict[str, int]:
    return {f"echo/i{at}": weight for at in range(count)}


def owners(ring: Ring, served: Mapping[str, int] | None = None) -> list[str]:
    """Whom each of KEYS belongs to."""
    names = list(ring.places)
    if served is None:
        return [names[ring.nearest(probes)] for probes in PROBES]
    mask = [name in served for name in names]
    return [names[ring.nearest_of(probes, mask)] for probes in PROBES]


def test_keys_are_spread_over_ten_equal_members_within_fifteen_percent() -> None:
    for service in ("echo", "users", "a"):
        counts = Counter(owners(Ring({f"{service}/inst-{at}": 1 for at in range(10)})))
        assert len(counts) == 10
        assert all(abs(count - len(KEYS) / 10) <= 0.15 * len(KEYS) / 10 for count in counts.values())


def test_weights_are_honoured() -> None:
    counts = Counter(owners(Ring({"a": 1, "b": 2, "c": 3, "d": 10})))
    for name, weight in {"a": 1, "b": 2, "c": 3, "d": 10}.items():
        assert abs(counts[name] - len(KEYS) * weight / 16) <= 0.15 * len(KEYS) * weight / 16


def test_a_member_that_leaves_moves_only_its_keys() -> None:
    everyone = members(10)
    before = owners(Ring(everyone))
    del everyone["echo/i3"]
    for was, now in zip(before, owners(Ring(everyone)), strict=True):
        assert now == was or was == "echo/i3"


def test_a_member_that_joins_takes_keys_for_itself_alone() -> None:
    before, after = owners(Ring(members(10))), owners(Ring(members(11)))
    moved = [now for was, now in zip(before, after, strict=True) if was != now]
    assert set(moved) == {"echo/i10"}
    assert abs(len(moved) - len(KEYS) / 11) <= 0.15 * len(KEYS) / 11


def test_more_weight_takes_keys_and_gives_none() -> None:
    before, after = owners(Ring(members(5))), owners(Ring({**members(5), "echo/i2": 2}))
    assert {now for was, now in zip(before, after, strict=True) if was != now} == {"echo/i2"}


def test_the_order_of_members_means_nothing() -> None:
    names = list(members(10))
    random.Random(3).shuffle(names)
    assert owners(Ring(dict.fromkeys(names, 1))) == owners(Ring(members(10)))


def test_every_process_comes_to_the_same() -> None:
    code = (
        "from gateway.upstream.hashing import *\n"
        "ring = Ring({f'echo/i{at}': 1 + at % 3 for at in range(10)})\n"
        "print(*(ring.nearest(probes_of(f'k{at}')) for at in range(50)))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    ring = Ring({f"echo/i{at}": 1 + at % 3 for at in range(10)})
    assert printed == {" ".join(str(ring.nearest(probes_of(f"k{at}"))) for at in range(50)) + "\n"}


def test_where_a_few_keys_belong_never_changes() -> None:
    """Another answer than these would move every client of every running gateway at an upgrade."""
    ring = Ring(members(10))
    assert [ring.nearest(probes_of(key)) for key in ("", "10.0.0.1", "ann", "\xe9", "\udce9")] == [7, 2, 6, 7, 7]


def test_passing_over_some_is_the_ring_without_them() -> None:
    ring, some = Ring(members(10)), {f"echo/i{at}": 1 for at in (0, 2, 3, 7)}
    assert owners(ring, some) == owners(Ring(some))
    assert owners(ring, members(10)) == owners(ring)


def test_a_ring_is_kept_while_half_of_its_points_serve() -> None:
    ring = Ring(members(10))
    assert ring.over(members(10)) is ring
    assert ring.over(members(5)) is ring
    assert len(ring.over(members(4)).places) == 4


def test_a_ring_that_others_join_is_the_ring_of_all() -> None:
    ring = Ring(members(6))
    joined = ring.over(members(9))
    assert owners(joined) == owners(Ring(members(9)))
    assert owners(ring) == owners(Ring(members(6)))
    assert owners(joined.over(members(60))) == owners(Ring(members(60)))


def test_many_that_join_one_after_the_other_are_the_ring_of_all() -> None:
    ring = Ring(members(1))
    for count in range(2, 60):
        ring = ring.over(members(count))
    assert owners(ring) == owners(Ring(members(59)))


def test_those_that_left_do_not_pile_up() -> None:
    ring = Ring(members(4))
    for at in range(4, 400):
        ring = ring.over({f"echo/i{at - back}": 1 for back in range(4)})
        assert len(ring.places) <= 8


def test_a_changed_weight_makes_the_ring_anew() -> None:
    changed = {**members(6), "echo/i1": 4}
    assert owners(Ring(members(6)).over(changed)) == owners(Ring(changed))


@pytest.mark.parametrize("weights", [members(9), members(10, 100), members(5, 1_000_000), {"a": 1_000_000, "b": 1}])
def test_points_are_bounded_whatever_the_weights(weights: dict[str, int]) -> None:
    ring = Ring(weights)
    assert len(ring._points) <= MAX_POINTS + len(weights)
    assert len(set(ring._owners)) == len(weights)
    assert scale_of(weights) == 1 or len(ring._points) > MAX_POINTS / 2


def test_weights_up_to_a_thousand_in_all_have_all_their_points() -> None:
    assert scale_of({"a": 1024}) == 1
    assert scale_of({"a": 1024, "b": 1}) == 2
    assert len(Ring({"a": 3})._points) == 3 * POINTS


def test_large_weights_still_get_their_shares() -> None:
    counts = Counter(owners(Ring({"a": 300_000, "b": 200_000, "c": 100_000})))
    assert all(
        abs(counts[name] * 6 / len(KEYS) - share) < 0.1 * share for name, share in (("a", 3), ("b", 2), ("c", 1))
    )


def test_the_last_arc_goes_on_with_the_first_point() -> None:
    ring = Ring({"a": 1, "b": 1})
    last = ring._points[-1]
    assert ring.nearest((last + 1,)) == ring._owners[0]
    assert ring.nearest((2**64 - 1,)) == ring._owners[0]
    assert ring.nearest((last,)) == ring._owners[-1]
    assert ring.nearest_of((2**64 - 1,), (True, True)) == ring._owners[0]
