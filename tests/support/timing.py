"""Assertions about how long something takes, on machines that are busy with something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TICK = 0.01


@contextmanager
def ends_after(seconds: float, within: float = 0.2) -> Iterator[None]:
    """The block takes so long, at most `within` seconds more.

    A thread that only sleeps runs beside it: by as much as its sleeps took too long, nobody was let run in time, and by
    that much the block may be late.
    """
    over = threading.Event()
    late = 0.0

    def watch() -> None:
        nonlocal late
        while not over.is_set():
            began = time.monotonic()
            over.wait(_TICK)
            late += max(time.monotonic() - began - 2 * _TICK, 0.0)

    watcher = threading.Thread(target=watch, name="ends-after")
    watcher.start()
    started = time.monotonic()
    try:
        yield
    finally:
        taken = time.monotonic() - started
        over.set()
        watcher.join()
    assert seconds - 0.01 <= taken <= seconds + within + late, f"{taken:.3f} s, of which {late:.3f} s stolen"
