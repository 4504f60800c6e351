"""The versions that operations bump, in shared memory, without a lock."""

from __future__ import annotations

from zlib import crc32

from gateway.state.engines.node.segment import DEATHS, TOPICS, WORD, Segment


class _Topics(dict[str, int]):
    """Name -> index of its word. Topics are few: they are named in code."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def __missing__(self, name: str) -> int:
        index = self[name] = self._first + crc32(name.encode()) % TOPICS
        return index


class Notices:
    """A notice stores a number in its topic's word that was never there before.

    Numbers are unique because each worker counts in a word of its own, with which its successor in the slot goes on.
    `own`, `prefix`: for records.py, which gives a notice in the same step as it writes.
    """

    def __init__(self, segment: Segment, worker: int) -> None:
        self.own = segment.layout.notices // WORD + worker
        self.prefix = (worker + 1) << 48
        self._words = segment.words
        self._topics = _Topics(segment.layout.topics // WORD)

    def topic(self, name: str) -> int:
        """The index of the topic's word; two topics that share one only cause a look for nothing."""
        return self._topics[name]

    def version(self, name: str) -> tuple[int, int]:
        """Differs after each notice, and after each death: that worker may have written and not given notice."""
        words = self._words
        return words[DEATHS], words[self._topics[name]]

    def give(self, word: int) -> int:
        words = self._words
        words[self.own] = count = words[self.own] + 1  # no call up to the end: one step for the threads of a process
        words[word] = number = self.prefix | count
        return int(number)

    def death(self) -> None:
        self.give(DEATHS)
