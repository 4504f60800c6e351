"""Health against a model that keeps the whole history and works everything out of it anew, over several handles."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.clock import FakeClock
from gateway.config.model import ActiveHealth, PassiveHealth
from gateway.config.model import Health as Settings
from gateway.state.engines.memory import MemoryEngine
from gateway.state.health import Event, Healths
from gateway.state.operations import health as machine
from gateway.state.operations.health import Finding
from gateway.state.registry import TOPIC, Instance

RISE, FALL = 2, 3
FAILURES, WINDOW, RETRY = 3, 12.0, 5.0
SETTINGS = Settings(
    active=ActiveHealth(healthy_after=RISE, unhealthy_after=FALL),
    passive=PassiveHealth(failures=FAILURES, window=WINDOW, retry_after=RETRY),
)
INSTANCE = Instance("echo", "inst-1", "http://127.0.0.1:8081")
WORKERS = 3
MODES = {"drain": "draining", "disable": "disabled", "enable": "enabled"}
workers = st.integers(0, WORKERS - 1)


class HealthAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.engine = MemoryEngine(1 << 20, self.clock)
        self.events: list[Event] = []
        self.handles = [
            Healths(self.engine, self.clock, [self.events.append]).of(INSTANCE, SETTINGS) for _ in range(WORKERS)
        ]
        self.probes: list[bool] = []
        self.failures: list[float] = []
        self.marks: list[float] = []  # when each began
        self.modes = ["enabled"]
        self.fit_since = 0.0
        self.was_fit = True
        self.version = self.engine.version(TOPIC)
        self.seen = self._fitness()

    # --- the model
    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def _down(self) -> bool:
        down, streak = False, 0
        for at, ok in enumerate(self.probes):
            streak = streak + 1 if at and ok == self.probes[at - 1] else 1
            if ok == down and streak >= (RISE if ok else FALL):
                down = not down
        return down

    def _marked(self) -> bool:
        return bool(self.marks) and self.now < self.marks[-1] + RETRY

    def _fitness(self) -> tuple[bool, bool, str]:
        return self._down(), self._marked(), self.modes[-1]

    # --- what happens
    @rule(worker=workers, ok=st.booleans(), times=st.integers(1, 3))
    def probe(self, worker: int, ok: bool, times: int) -> None:
        for _ in range(times):
            self.handles[worker].probed(Finding(machine.GOOD if ok else machine.REFUSED))
            self.probes.append(ok)
            self._note()

    @rule(worker=workers, times=st.integers(1, 3))
    def fail(self, worker: int, times: int) -> None:
        for _ in range(times):
            self.handles[worker].failed()
            self.failures.append(self.now)
            within = [at for at in self.failures if at > self.now - WINDOW]
            if len(within) >= FAILURES and not self._marked():
                self.marks.append(self.now)
            self._note()

    @rule(worker=workers, action=st.sampled_from(["drain", "undrain", "disable", "enable"]))
    def steer(self, worker: int, action: str) -> None:
        before = self.modes[-1]
        after = MODES.get(action) or ("enabled" if before == "draining" else before)
        if action == "drain" and before == "disabled":
            after = before
        assert self.handles[worker].steer(action) == (before != after)  # type: ignore[arg-type]
        if before != after:
            self.modes.append(after)
        self._note()

    @rule(seconds=st.sampled_from([0.5, RETRY / 2, RETRY, WINDOW]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if not self._down() and self.modes[-1] == "enabled" and not self.was_fit and not self._marked():
            self.fit_since = self.marks[-1] + RETRY
            self.was_fit = True
        self.seen = self._fitness()  # what time alone changes is in `until`, not in the version

    @rule(worker=workers)
    def settle(self, worker: int) -> None:
        self.handles[worker].settle()
        told = [event.name for event in self.events if event.name in {"healthy", "unhealthy"}]
        is_well = not self._down() and not self._marked()
        assert not told or (told[-1] == "healthy") == is_well

    def _note(self) -> None:
        """After each thing that happened: was the version bumped when what may be picked changed?"""
        seen, version = self._fitness(), self.engine.version(TOPIC)
        assert (version != self.version) == (seen != self.seen)
        self.seen, self.version = seen, version
        fit = not seen[0] and not seen[1] and seen[2] == "enabled"
        if fit and not self.was_fit:
            self.fit_since = self.now
        self.was_fit = fit

    # --- what must hold
    @invariant()
    def every_worker_sees_the_same_mark(self) -> None:
        down, marked, mode = self._fitness()
        for handle in self.handles:
            mark = handle.mark(self.now)
            assert mark.healthy == (not down and not marked)
            assert mark.fit == (mark.healthy and mode == "enabled") == (mark.mode == "up")
            assert mark.mode == (mode if mode != "enabled" else "up" if mark.healthy else "unhealthy")
            assert (mark.reason is None) == mark.fit
            assert mark.until == (self.marks[-1] + RETRY if marked else float("inf"))
            assert mark.since == (self.fit_since if mark.fit else 0.0)

    @invariant()
    def transitions_are_told_in_turn(self) -> None:
        told = [event.name for event in self.events if event.name in {"healthy", "unhealthy"}]
        assert told == ["unhealthy", "healthy"] * (len(told) // 2) + ["unhealthy"] * (len(told) % 2)
        assert ["enabled", *(event.name for event in self.events if event.was in MODES.values())] == self.modes


TestHealth = HealthAgainstModel.TestCase
TestHealth.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
