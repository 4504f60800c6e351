"""Time, injected: everything that decides by time takes a `Clock`; tests move a `FakeClock` instead of sleeping."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """monotonic: seconds for durations and deadlines, the same in every process of this boot. wall: Unix seconds."""

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...


class SystemClock:
    """CLOCK_MONOTONIC is one clock for all processes of a machine, so workers may compare each other's readings."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._wall += seconds

    def __repr__(self) -> str:
        return f"FakeClock(monotonic={self._monotonic}, wall={self._wall})"
