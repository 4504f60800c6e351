from __future__ import annotations

from gateway.state.operations.sequence import INITIAL, NEXT


def test_a_sequence_counts_from_zero() -> None:
    state, seen = INITIAL, []
    for _ in range(3):
        state, number, notify = NEXT.decide(state, 1000.0)
        seen.append(number)
        assert not notify
    assert seen == [0, 1, 2]


def test_a_sequence_is_kept_for_a_day() -> None:
    assert NEXT.lifetime((5,)) == 86_400
