"""Request ids: 128 random bits in hexadecimal, unlike any other of any process."""

from __future__ import annotations

import os
import re
import weakref

VALID = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
"""Truthy for an id that may be taken over from a trusted proxy: safe in a header, a log line and a file name."""

_BATCH = 256


class RequestIds:
    """Hands out ids. They are cut in advance from one read of the kernel's random source: a system call in 256."""

    def __init__(self) -> None:
        self._ready: list[str] = []  # only pop() and extend() touch it, each of which is one step under the GIL
        # A forked child would hand out what its parent holds ready.
        me = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(me()))

    def make(self) -> str:
        """A new id of 32 hexadecimal digits."""
        try:
            return self._ready.pop()
        except IndexError:
            digits = os.urandom(16 * _BATCH).hex()
            made = [digits[at : at + 32] for at in range(0, len(digits), 32)]
            mine = made.pop()  # not out of the shared list, which other threads may empty
            self._ready.extend(made)
            return mine


def _forget(ids: RequestIds | None) -> None:
    if ids is not None:
        ids._ready.clear()
