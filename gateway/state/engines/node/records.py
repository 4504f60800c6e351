"""Records in shared memory: decided on outside the lock, written in one step.

A slot is a sequence word and two banks, each a whole record: its key's digest, its deadline, its state. The sequence
word's lowest bit names the bank that counts; a write fills the other bank and then adds one to the word. That store
is the write: a process that dies before it has changed nothing, one that dies after it is done. A slot is free when it
was never written or the deadline of its record has passed.

`apply` reads a record without a lock, lets the operation decide, then takes the mutex of the slot's set, and writes
only when the sequence word is still the one it read; otherwise it decides anew. So the mutex is held for a handful of
loads and stores (see mutex.py), nobody waits while another one thinks, and of several that try one always succeeds.
A new key takes the first free slot of its set, from a place of its own on. The word behind the set's mutex counts such
claims: a claim is written only when none came since its key was looked for, so a key never gets two slots.

Reading without a lock needs stores and loads to be seen in program order, as x86 does. Elsewhere the copy is made
under the mutex.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple

from gateway.clock import Clock
from gateway.errors import StoreFull
from gateway.state.engines.node import mutex
from gateway.state.engines.node.mutex import trylock, unlock, wait
from gateway.state.engines.node.notices import Notices
from gateway.state.engines.node.segment import DIGEST, WAYS, WORD, Segment, TableLayout
from gateway.state.operations import Operation, Result, State

HEAD = Struct("16sd")  # a bank begins with the key's digest and the deadline
_NOBODY = HEAD.pack(bytes(DIGEST), 0.0)
_FEW = 8  # slots looked at one by one before the whole set is searched
_ORDERED = platform.machine().lower() in {"x86_64", "amd64", "i386", "i686"}


class Place(NamedTuple):
    """Where a record is. at: index of its slot's sequence word. banks: by the sequence word's lowest bit."""

    at: int
    mutex: int
    banks: tuple[slice, slice]


class Claim(NamedTuple):
    """What must still be so when a free slot is taken: the set's claims (word, number), the slot's deadline (index)
    passed at `now`."""

    word: int
    number: int
    deadline: int
    now: float


class Table:
    """The slots for records up to a size. Knows where what is; remembers nothing of its own."""

    def __init__(self, segment: Segment, layout: TableLayout, notices: Notices, clock: Clock) -> None:
        self.now: Callable[[], float] = clock.monotonic
        self._memory = segment.memory
        self._words = segment.words
        self._doubles = segment.doubles
        self._base = segment.base
        self._layout = layout
        self._notices = notices
        self._bank = HEAD.size + layout.record

    def home(self, digest: bytes) -> tuple[int, int]:
        """The key's set, and the place in it where looking begins."""
        number = int.from_bytes(digest[:8], "little")
        return number // WAYS % self._layout.sets, number % WAYS

    def claims(self, home: int) -> int:
        """The index of the word that counts the set's claims."""
        return (self._layout.heads + home * TableLayout.HEAD + mutex.SIZE) // WORD

    def find(self, digest: bytes, size: int) -> Place | None:
        """The slot whose record, expired or not, is the key's. `size`: of the record with its head."""
        memory, words = self._memory, self._words
        home, first = self.home(digest)
        start, slot = self._start(home), self._layout.slot
        for step in range(_FEW):
            at = start + (first + step) % WAYS * slot
            if words[at // WORD] == 0:
                return None  # never used: a key that begins here has not gone beyond
            if self._holds(at, digest):
                return self._place(home, at, size)
        end = start + WAYS * slot
        hit = memory.find(digest, start, end)
        while hit >= 0:
            at = start + (hit - start) // slot * slot
            if self._holds(at, digest):  # in whichever bank: the record may be written right now
                return self._place(home, at, size)
            hit = memory.find(digest, hit + 1, end)
        return None

    def claim(self, digest: bytes, record: bytes, now: float, topic: int | None) -> Place | None:
        """Write a key's first record into a free slot. None: the key has a slot by now, or another one was faster."""
        home, _ = self.home(digest)
        word = self.claims(home)
        number = self.load(self._mutex(home), word)  # every claim counted in it can be seen by `find`
        if self.find(digest, len(record)) is not None:
            return None
        place, sequence, deadline = self._vacant(digest, len(record), now)
        claim = Claim(word, number, deadline, now)
        return place if self.write(place, sequence, record, topic, claim) else None

    def write(self, place: Place, sequence: int, record: bytes, topic: int | None, claim: Claim | None = None) -> bool:
        """The one place where records change. False: the record is not what it was at `sequence`; nothing is done."""
        words, memory, notices = self._words, self._memory, self._notices
        at, address, banks = place
        bank = banks[(sequence + 1) & 1]
        if claim is not None:
            claims, number, deadline, now = claim
            doubles = self._doubles
        if (code := trylock[address]) and wait(address, code):
            notices.death()
        try:
            # No call and no loop from here until the mutex is given back.
            if words[at] != sequence:
                return False
            if claim is not None:
                if words[claims] != number or doubles[deadline] > now:  # the slot was judged without the mutex
                    return False
                words[claims] = number + 1  # before the record: what is seen is counted
            memory[bank] = record
            words[at] = sequence + 1
            if topic is not None:
                words[notices.own] = count = words[notices.own] + 1
                words[topic] = notices.prefix | count
            return True
        finally:
            unlock[address]

    def load(self, address: int, index: int) -> int:
        """A word, as the last holder of the mutex left it."""
        words = self._words
        if (code := trylock[address]) and wait(address, code):
            self._notices.death()
        try:
            value: int = words[index]
        finally:
            unlock[address]
        return value

    def copy(self, place: Place) -> tuple[int, bytes]:
        """Sequence word and record, consistent."""
        words, memory = self._words, self._memory
        at, _, banks = place
        while True:
            sequence: int = words[at]
            record = memory[banks[sequence & 1]]
            if words[at] == sequence:
                return sequence, record

    def copy_locked(self, place: Place) -> tuple[int, bytes]:
        """The same where the processor may reorder loads or stores."""
        words, memory = self._words, self._memory
        at, address, banks = place
        if (code := trylock[address]) and wait(address, code):
            self._notices.death()
        try:
            sequence: int = words[at]
            return sequence, memory[banks[sequence & 1]]
        finally:
            unlock[address]

    if not _ORDERED:
        copy = copy_locked

    def _vacant(self, digest: bytes, size: int, now: float) -> tuple[Place, int, int]:
        """The first free slot from the key's own place on, its sequence, and the index of its deadline."""
        home, first = self.home(digest)
        start, slot = self._start(home), self._layout.slot
        for step in range(WAYS):
            at = start + (first + step) % WAYS * slot
            sequence = self._words[at // WORD]
            deadline = (at + 2 * WORD + (sequence & 1) * self._bank + DIGEST) // WORD
            if self._doubles[deadline] <= now:
                return self._place(home, at, size), sequence, deadline
        raise StoreFull("no room for another record of transient state")

    def _holds(self, at: int, digest: bytes) -> bool:
        bank = at + 2 * WORD + (self._words[at // WORD] & 1) * self._bank
        return self._memory[bank : bank + DIGEST] == digest

    def _start(self, home: int) -> int:
        return self._layout.slots + home * WAYS * self._layout.slot

    def _mutex(self, home: int) -> int:
        return self._base + self._layout.heads + home * TableLayout.HEAD

    def _place(self, home: int, at: int, size: int) -> Place:
        even = at + 2 * WORD
        odd = even + self._bank
        return Place(at // WORD, self._mutex(home), (slice(even, even + size), slice(odd, odd + size)))


class NodeRecord:
    """`_place` remembers where the record was last; that it still is there is seen from the digest in the record."""

    __slots__ = ("_claims", "_digest", "_initial", "_layout", "_notices", "_place", "_table", "_words")

    def __init__(self, table: Table, operation: Operation[Any], key: str, words: memoryview, notices: Notices) -> None:
        self._table = table
        self._words = words
        self._notices = notices
        self._layout = operation.layout
        self._initial = operation.initial
        self._digest = blake2b(f"{operation.kind}\0{key}".encode(), digest_size=DIGEST).digest()
        self._claims = table.claims(table.home(self._digest)[0])
        self._place: Place | None = None  # replaced whole

    def apply(self, operation: Operation[Result], *args: Any) -> Result:
        table = self._table
        while True:
            place, sequence, deadline, state = self._load()
            now = table.now()
            after, result, notify = operation.decide(self._initial if deadline <= now else state, now, *args)
            if after is None and not notify:
                return result
            topic = self._notices.topic(operation.topic) if notify and operation.topic is not None else None
            if after is None:
                if topic is not None:
                    self._notices.give(topic)
                return result
            record = HEAD.pack(self._digest, now + operation.lifetime(after)) + self._layout.pack(*after)
            if place is None:
                self._place = place = table.claim(self._digest, record, now, topic)
                if place is not None:
                    return result
            elif table.write(place, sequence, record, topic):
                return result

    def read(self) -> State:
        _, _, deadline, state = self._load()
        return self._initial if deadline <= self._table.now() else state

    def stamp(self) -> int:
        # A slot's own number tells its stamps from another slot's; negative ones are those of a record without a slot.
        place = self._place
        if place is None:
            return ~self._words[self._claims]
        return place.at << 64 | self._words[place.at]

    def drop(self) -> None:
        while True:
            place, sequence, _, _ = self._load()
            nobody = _NOBODY + self._layout.pack(*self._initial)
            if place is None or self._table.write(place, sequence, nobody, None):
                self._place = None
                return

    def _load(self) -> tuple[Place | None, int, float, State]:
        """Place, sequence, deadline and state; no place and a deadline in the past when the key has no slot."""
        table = self._table
        while True:
            place = self._place
            if place is None:
                self._place = place = table.find(self._digest, HEAD.size + self._layout.size)
                if place is None:
                    return None, 0, 0.0, self._initial
            sequence, record = table.copy(place)
            digest, deadline = HEAD.unpack_from(record)
            if digest == self._digest:
                return place, sequence, deadline, self._layout.unpack_from(record, HEAD.size)
            self._place = None

    def __repr__(self) -> str:
        return f"NodeRecord({self._digest.hex()}, {self.read()})"
