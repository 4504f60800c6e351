from __future__ import annotations

import pytest

from gateway.state.registry import Instance
from gateway.upstream.narrowing import narrowed

A = Instance("echo", "a", "http://a:80", zone="west", tags=("canary", "gpu"))
B = Instance("echo", "b", "http://b:80", zone="east", tags=("canary",))
C = Instance("echo", "c", "http://c:80", zone="west")


@pytest.mark.parametrize(
    ("tags", "zone", "left"),
    [
        ((), None, [A, B, C]),
        (("canary",), None, [A, B]),
        (("canary", "gpu"), None, [A]),
        (("nobody",), None, [A, B, C]),
        ((), "west", [A, C]),
        ((), "nowhere", [A, B, C]),
        (("canary",), "east", [B]),
        (("gpu",), "east", [A]),  # tags are asked for by the route, the zone is only nearer
        (("nobody",), "west", [A, C]),
    ],
)
def test_a_preference_narrows_and_never_leaves_nobody(
    tags: tuple[str, ...], zone: str | None, left: list[Instance]
) -> None:
    assert list(narrowed([A, B, C], tags, zone)) == left


def test_of_nobody_nobody_is_left() -> None:
    assert list(narrowed([], ("canary",), "west")) == []
