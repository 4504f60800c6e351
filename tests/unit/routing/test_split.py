from collections import Counter
from itertools import count

import pytest

from gateway.config.model import Split as Share
from gateway.routing.split import Split


def shares(**weights):
    return [Share(service=name, weight=weight) for name, weight in weights.items()]


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 90, "b": 10},
        {"a": 1, "b": 1},
        {"a": 5, "b": 1, "c": 1},
        {"a": 3},
        {"a": 997, "b": 3},
        {"a": 2, "b": 0, "c": 1},
    ],
)
def test_every_run_of_one_period_holds_exactly_the_weights(weights):
    choose = Split("k", shares(**weights))
    total = sum(weights.values())
    for _ in range(total // 3):
        choose()
    for _ in range(3):
        assert Counter(choose() for _ in range(total)) == Counter({name: n for name, n in weights.items() if n})


def test_a_common_divisor_shortens_the_period():
    choose = Split("k", shares(a=90, b=10))
    assert Counter(choose() for _ in range(10)) == {"a": 9, "b": 1}


def test_turns_are_spread():
    choose = Split("k", shares(a=50, b=30, c=20))
    assert "".join(choose() for _ in range(10)) == "abaacbacba"
    choose = Split("k", shares(a=618, b=382))
    turns = "".join(choose() for _ in range(1000))
    assert "aaa" not in turns
    assert "bb" not in turns


def test_workers_that_share_a_sequence_split_exactly_together():
    numbers = count()
    asked = []

    def next_in_sequence(key):
        asked.append(key)
        return next(numbers)

    workers = [Split("split:r", shares(a=9, b=1), next_in_sequence) for _ in range(2)]
    assert Counter(workers[turn % 3 % 2]() for turn in range(100)) == {"a": 90, "b": 10}
    assert set(asked) == {"split:r"}


def test_weights_of_nothing_are_refused():
    with pytest.raises(ValueError, match="every weight is 0"):
        Split("k", shares(a=0))
