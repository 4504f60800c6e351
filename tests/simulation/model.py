"""What must hold at every moment, whatever the workers do: the invariants, kept by counting on our own.

- half open: at most `half_open_probes` probes of one generation are under way;
- in flight, requests so far: for each instance what its counters say is how many requests are there;
- a pick: the instance is known, its breaker is not open, its health lets it, and it did not fail this request before
  while another one was to be had;
- retries: of all requests at most the budget's share, with what `min_per_second` adds.

`fitness` is where the health record is asked (see `Fitness`); without one, everybody is fit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from gateway.exchange import Exchange
from gateway.state.registry import Instance, ServiceView
from tests.unit.upstream.support import World

RESERVE = 1.0  # seconds of `min_per_second` that may have been saved up

Place = tuple[str, int]  # an instance's key, and the how-manieth time that it is there


@dataclass(eq=False)
class Attempt:
    """One try, from the pick to the end of its answer. probe: the breaker's generation, None when it was closed."""

    place: Place
    worker: World
    probe: int | None
    at: float


class Fitness:
    """What health says. mode: up | unhealthy | draining | disabled."""

    @staticmethod
    def mode(world: World, instance: Instance, view: ServiceView, now: float) -> str:
        healths = getattr(world, "healths", None)
        return "up" if healths is None else str(healths.of(instance, view.settings.health).mark(now).mode)

    @staticmethod
    def steer(world: World, instance: Instance, view: ServiceView, action: str) -> None:
        healths = getattr(world, "healths", None)
        if healths is not None:
            healths.of(instance, view.settings.health).steer(action)


class Model:
    """watcher: a worker that takes no requests; through it the node's state is read. probes: as many may be at once."""

    def __init__(self, watcher: World, probes: int) -> None:
        self._watcher = watcher
        self._probes = probes
        self._began = watcher.clock.monotonic()
        self.attempts: set[Attempt] = set()  # under way, of workers that live
        self.arrived = 0  # requests
        self.retries = 0  # attempts beyond the first
        self.sent: Counter[Place] = Counter()
        self.lives: Counter[str] = Counter()  # how many times an instance was taken away, by its key
        self.seen: Counter[str] = Counter()  # what the schedule came by, to know that it came by everything

    # --- what happens ---
    def reached(self, exchange: Exchange, worker: World) -> Attempt:
        """A request is at an instance: checks the pick."""
        instance, now = exchange.instance, self._watcher.clock.monotonic()
        view = self.view()
        assert instance.key in {one.key for one in view.instances}, f"{instance.key} was picked, and is gone"
        state, generation = self._breaker(worker, instance, now)
        assert state != "open", f"{instance.key} was picked with an open breaker"
        self._check_health(worker, instance, view, now)
        self._check_tried(exchange, worker, view, now)
        attempt = Attempt(self.place(instance), worker, generation if state == "half_open" else None, now)
        self.attempts.add(attempt)
        self.sent[attempt.place] += 1
        self.retries += exchange.attempts > 1
        self.seen["probes" if attempt.probe is not None else "picks"] += 1
        self.seen["retries"] += exchange.attempts > 1
        return attempt

    def left(self, attempt: Attempt) -> None:
        self.attempts.discard(attempt)

    def gone(self, instance: Instance) -> None:
        """It was deregistered: what comes under the same key counts from zero."""
        self.lives[instance.key] += 1

    # --- what must hold ---
    def check(self) -> None:
        here = Counter(attempt.place for attempt in self.attempts)
        for instance in self.view().instances:
            place, key = self.place(instance), instance.key
            assert self._watcher.inflight.in_flight_of(key) == here[place], f"in flight to {key}"
            assert self._watcher.inflight.requests_of(key) == self.sent[place], f"requests to {key}"
        self._check_probes()
        self._check_budget()

    def check_leases(self) -> None:
        """Nothing is under way and every lease has ended: each half-open breaker has all its places to give."""
        settings = self.view().settings.breaker
        for instance in self.view().instances:
            handle = self._watcher.breakers.of(instance, settings)
            if handle is None or self.standing()[instance.id] != "half_open":
                continue
            permits = [permit for _ in range(self._probes + 1) if (permit := handle.allow(1.0)) is not None]
            assert len(permits) == self._probes, f"{len(permits)} places are free at {instance.key}"
            for permit in permits:
                permit.done(None)

    def _check_probes(self) -> None:
        probes = Counter((one.place, one.probe) for one in self.attempts if one.probe is not None)
        for (place, generation), count in probes.items():
            assert count <= self._probes, f"{count} probes at {place}, generation {generation}"

    def _check_budget(self) -> None:
        settings = self.view().settings.retries
        seconds = self._watcher.clock.monotonic() - self._began
        allowed = settings.budget * self.arrived + settings.min_per_second * (seconds + RESERVE)
        assert self.retries <= allowed, f"{self.retries} retries for {self.arrived} requests"

    def _check_health(self, worker: World, instance: Instance, view: ServiceView, now: float) -> None:
        mode = Fitness.mode(worker, instance, view, now)
        if mode == "unhealthy" and view.settings.health.when_none_healthy == "try_all":
            others = [one for one in view.instances if one is not instance and self._is_free(worker, one, view, now)]
            assert not others, f"{instance.key} was picked, unhealthy; {others} were not"
        else:
            assert mode == "up", f"{instance.key} was picked, {mode}"

    def _check_tried(self, exchange: Exchange, worker: World, view: ServiceView, now: float) -> None:
        if exchange.instance.key in exchange.tried:
            others = [one for one in view.instances if one.key not in exchange.tried]
            assert not any(self._is_free(worker, one, view, now) for one in others), "a failed one was asked again"

    def _is_free(self, worker: World, instance: Instance, view: ServiceView, now: float) -> bool:
        """Whether it may certainly be picked."""
        return self._breaker(worker, instance, now)[0] == "closed" and Fitness.mode(worker, instance, view, now) == "up"

    # --- reading ---
    def view(self) -> ServiceView:
        return self._watcher.registry.snapshot().services["echo"]

    def place(self, instance: Instance) -> Place:
        return instance.key, self.lives[instance.key]

    def standing(self) -> dict[str, str]:
        """Every instance's breaker, by id."""
        now = self._watcher.clock.monotonic()
        return {one.id: self._breaker(self._watcher, one, now)[0] for one in self.view().instances}

    def _breaker(self, worker: World, instance: Instance, now: float) -> tuple[str, int]:
        """As the worker's settings have it: during a reload those of old and new workers differ."""
        settings: Any = worker.registry.snapshot().services["echo"].settings.breaker
        handle = self._watcher.breakers.of(instance, settings)
        if handle is None:
            return "closed", 0
        status = handle.status(now)
        return status.state, status.generation
