"""The breaker against a model that says the same in other words, over any course of events and several handles."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gateway.clock import FakeClock
from gateway.config.model import Breaker as Settings
from gateway.state.breakers import Breakers, Event, Permit
from gateway.state.engines.memory import MemoryEngine
from gateway.state.registry import Instance

FAILURES, OPEN_FOR, PROBES, LEASE = 3, 8.0, 2, 4.0
SETTINGS = Settings(failures=FAILURES, open_for=OPEN_FOR, half_open_probes=PROBES)
INSTANCE = Instance("echo", "inst-1", "http://127.0.0.1:8081")
WORKERS = 3


@dataclass
class Epoch:
    """A phase from its beginning to its end; each transition makes a new one, so generations need no numbers here."""

    phase: str
    began: float
    streak: int = 0
    wins: int = 0
    leases: list[Ticket] = field(default_factory=list)


@dataclass(eq=False)
class Ticket:
    epoch: Epoch
    permit: Permit
    ends: float = 0.0


class BreakerAgainstModel(RuleBasedStateMachine):
    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        engine = MemoryEngine(1 << 20, self.clock)
        self.events: list[Event] = []
        made = [Breakers(engine, self.clock, [self.events.append]).of(INSTANCE, SETTINGS) for _ in range(WORKERS)]
        self.handles = [one for one in made if one is not None]
        self.epoch = Epoch("closed", self.clock.monotonic())
        self.expected: list[str] = []

    @rule(target=tickets, worker=st.integers(0, WORKERS - 1))
    def request(self, worker: int) -> Ticket | None:
        now = self.clock.monotonic()
        if self.epoch.phase == "open" and now - self.epoch.began >= OPEN_FOR:
            self._enter("half_open")
        under_way = [one for one in self.epoch.leases if one.ends > now]
        expected = self.epoch.phase == "closed" or (self.epoch.phase == "half_open" and len(under_way) < PROBES)
        permit = self.handles[worker].allow(LEASE)
        assert (permit is not None) == expected
        if permit is None:
            return None
        ticket = Ticket(self.epoch, permit, now + LEASE)
        if self.epoch.phase == "half_open":
            assert permit.is_probe
            self.epoch.leases.append(ticket)
        return ticket

    @rule(ticket=tickets, ok=st.sampled_from([True, False, None]))
    def outcome(self, ticket: Ticket | None, ok: bool | None) -> None:
        if ticket is None or ticket.permit is None:
            return
        permit, ticket.permit = ticket.permit, None  # type: ignore[assignment]
        permit.done(ok)
        epoch = ticket.epoch
        if epoch is not self.epoch:
            return
        if ticket in epoch.leases:
            epoch.leases.remove(ticket)
        if ok is False and epoch.phase == "closed":
            epoch.streak += 1
            if epoch.streak == FAILURES:
                self._enter("opened")
            else:
                self.expected.append("failure")
        elif ok is False:
            self._enter("opened")
        elif ok and epoch.phase == "closed":
            epoch.streak = 0
        elif ok:
            epoch.wins += 1
            if epoch.wins == PROBES:
                self._enter("closed")

    @rule(seconds=st.sampled_from([0.5, 2.0, LEASE, OPEN_FOR]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_worker_sees_the_same_standing(self) -> None:
        now = self.clock.monotonic()
        is_open = self.epoch.phase == "open" and now - self.epoch.began < OPEN_FOR
        for handle in self.handles:
            assert bool(handle.open_until(now)) == is_open

    @invariant()
    def what_happened_was_told_once(self) -> None:
        assert [event.name for event in self.events] == self.expected

    def _enter(self, event: str) -> None:
        self.expected.append(event)
        self.epoch = Epoch("open" if event == "opened" else event, self.clock.monotonic())


TestBreaker = BreakerAgainstModel.TestCase
TestBreaker.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
