from __future__ import annotations

import math
import struct

import pytest

from gateway.state.operations import LARGEST_RECORD, Decision, Operation


def operation(layout: str, initial: tuple[float, ...]) -> Operation[None]:
    return Operation(
        "kind.verb", struct.Struct(layout), initial, lambda state, now: Decision(None, None), lambda _: math.inf
    )


def test_the_kind_is_the_name_up_to_the_dot() -> None:
    assert operation("=q", (0,)).kind == "kind"


def test_a_record_that_no_slot_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=f"at most {LARGEST_RECORD}"):
        operation("=61q", (0,) * 61)


def test_an_initial_state_that_does_not_fit_the_layout_is_refused() -> None:
    with pytest.raises(struct.error):
        operation("=2q", (0,))
