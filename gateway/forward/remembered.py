"""What is worked out once for each short text that comes again and again, such as a header's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")

_MOST = 4096  # texts
_LONGEST = 64  # characters; what is longer is worked out each time


class Remembered(dict[str, V]):
    """`remembered[text]` is `of(text)`, a pure function; what it raises is raised and not remembered.

    Thrown away when full, so that nobody can fill it with texts of his own and leave the common ones outside.
    """

    __slots__ = ("_of",)

    def __init__(self, of: Callable[[str], V]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, text: str) -> V:
        value = self._of(text)
        if len(text) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[text] = value
        return value
