"""A seeded schedule of everything that happens to a node's workers, a step at a time, with the invariants after each.

    Schedule(seed, "round_robin", tasks).run(steps=40)

Simulation in the manner of FoundationDB (Zhou et al., SIGMOD 2021): the real code, with time, chance and the outside
world in the hands of one seed, so that a failure is a number that brings it back. Requests are tasks that stop where
they wait for a backend; answers, clients that leave, reloads and deaths meet them there in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from gateway.clock import FakeClock
from gateway.config.model import Breaker, Hash, Health, PassiveHealth, Retries, Service, Timeouts
from gateway.errors import CircuitOpen, ClientGone, DeadlineExceeded, NoInstance, Refusal, UpstreamReset
from gateway.exchange import Answer
from tests.simulation.model import Fitness, Model
from tests.simulation.node import Killed, Node
from tests.simulation.outcomes import MOODS, OUTCOMES, Body, Outcome, Request, made
from tests.simulation.tasks import Task, Tasks
from tests.unit.upstream.support import World, answer, service

WORKERS = 3
MOST = 24  # requests under way
PROBES = MOST_PROBES = 2  # what is configured, and what must hold
REQUEST = 4.0  # seconds, the deadline
OPEN_FOR = (2.0, 6.0)  # seconds; a reload changes from one to the other
TICK = 0.001  # seconds a step
RETURNING = 400  # requests within which every breaker closes once all is well


class Schedule:
    """moods: how each instance behaves, by id: good, bad, mixed or silent. trace: what happened, to read."""

    def __init__(self, seed: int, balancer: str, tasks: Tasks) -> None:
        self._random = Random(seed)
        self._tasks = tasks
        self._clock = FakeClock()
        self._node = Node(self._clock)
        self._settings = self._service(balancer)
        self.trace: list[str] = []
        self.model = Model(self._worker(), MOST_PROBES)
        self._workers = [self._worker() for _ in range(WORKERS)]  # of the generation in force
        self._requests: list[Request] = []
        self._moods = {id: self._random.choice(MOODS) for id in "abcd"}

    def _service(self, balancer: str) -> Service:
        random = self._random
        return service(
            "a", "b", "c",
            balancer=balancer,
            hash=Hash(key="path") if balancer == "consistent_hash" else None,
            breaker=Breaker(failures=random.randint(1, 3), open_for=OPEN_FOR[0], half_open_probes=PROBES),
            retries=Retries(
                attempts=random.randint(1, 3),
                budget=random.choice((0.2, 1.0)),
                min_per_second=random.choice((0, 3)),
                backoff=0.0,
            ),
            health=Health(
                passive=random.choice([None, PassiveHealth(failures=2, window=5.0, retry_after=3.0)]),
                when_none_healthy=random.choice(["fail", "try_all"]),  # type: ignore[arg-type]
            ),
            timeouts=Timeouts(request=REQUEST),
        )  # fmt: skip

    def _worker(self) -> World:
        return World({"echo": self._settings}, self._node.worker(), self._clock)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            (action,) = self._random.choices(ACTIONS, ACTION_WEIGHTS)
            action(self)
            self._clock.advance(TICK)
            self._end_overdue()
            self.model.check()
        self._settle()

    def _note(self, what: str) -> None:
        self.model.seen[what.partition(" ")[0]] += 1
        self.trace.append(f"{self._clock.monotonic():.3f} {what}")

    def _pick_request(self, *, waiting: bool) -> Request | None:
        found = [one for one in self._requests if one.is_waiting == waiting]
        return self._random.choice(found) if found else None

    # --- requests ---
    def arrive(self) -> None:
        if len(self._requests) < MOST:
            self._begin(self._random.choice(self._workers))

    def _begin(self, worker: World) -> Request:
        exchange = worker.exchange("echo")
        exchange.path = f"/{self._random.randrange(100)}"
        request = Request(worker, exchange)
        request.task = self._tasks.task(lambda task: worker.stage(exchange, lambda _: self._proceed(request, task)))
        self.model.arrived += 1
        self._requests.append(request)
        self._note(f"arrives #{self.model.arrived}")
        self._resume(request, None)
        return request

    def _proceed(self, request: Request, task: Task) -> Answer:
        """In the request's task: one attempt, in the place of the forwarding stage."""
        if request.attempt is not None:  # the streamed answer of the attempt before was let go
            self.model.left(request.attempt)
            request.body = None
        request.attempt = attempt = self.model.reached(request.exchange, request.worker)
        outcome: Outcome = task.park()
        if isinstance(outcome, Answer) and isinstance(outcome.body, Body):
            request.body = outcome.body
            request.body.over = lambda: self.model.left(attempt)
            attempt.probe = None  # a probe is judged by the head
            return outcome
        request.attempt = None
        self.model.left(attempt)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _resume(self, request: Request, outcome: Outcome | None) -> None:
        """Let the request go on until it waits again, streams, or is over."""
        request.task.resume(outcome)
        if not request.task.done:
            return
        error = request.task.error
        if request.body is not None and not request.body.is_over:
            return
        self._requests.remove(request)
        if error is not None and not isinstance(error, (Refusal, Killed)):
            raise error

    def backend_answers(self) -> None:
        request = self._pick_request(waiting=True)
        if request is None:
            return
        mood = self._moods[request.exchange.instance.id]
        outcomes = OUTCOMES[mood]
        if outcomes:
            kind = self._random.choice(outcomes)
            self._note(f"answers {kind} from {request.exchange.instance.id}")
            self._resume(request, made(kind))

    def body_goes_on(self) -> None:
        request = self._pick_request(waiting=False)
        if request is not None:
            ends = (b"x", b"x", StopIteration(), StopIteration(), UpstreamReset())
            self._stream(request, self._random.choice(ends))

    def _stream(self, request: Request, piece: bytes | BaseException) -> None:
        """One piece to the client, or the end: then the server closes the body."""
        assert request.body is not None
        request.body.next = piece
        given = request.task.result
        try:
            next(given.body)
        except (StopIteration, Refusal):
            given.body.close()
            self._requests.remove(request)

    def client_leaves(self) -> None:
        request = self._pick_request(waiting=self._random.random() < 0.5)
        if request is None:
            return
        self._note("leaves")
        if request.is_waiting:
            self._resume(request, ClientGone())
        else:
            assert request.body is not None
            request.body.over()  # the model does not wait for the gateway to say so
            request.task.result.body.close()
            self._requests.remove(request)

    def _end_overdue(self) -> None:
        """What forwarding does by itself: it waits until the deadline and no longer."""
        now = self._clock.monotonic()
        for request in [one for one in self._requests if one.is_waiting and one.exchange.deadline <= now]:
            self._note(f"overdue at {request.exchange.instance.id}")
            self._resume(request, DeadlineExceeded())

    # --- the world ---
    def time_passes(self) -> None:
        self._clock.advance(self._random.choice((0.1, 0.5, 1.0, 1.0, 2.0, REQUEST)))

    def mood_changes(self) -> None:
        id = self._random.choice("abcd")
        self._moods[id] = self._random.choice(MOODS)
        self._note(f"mood of {id}: {self._moods[id]}")

    def worker_dies(self) -> None:
        """SIGKILL: nothing that it held is given back; the master starts another one."""
        at = self._random.randrange(len(self._workers))
        dead = self._workers[at]
        self._note("dies")
        dead.engine.alive = False  # type: ignore[attr-defined]
        for request in [one for one in self._requests if one.worker is dead]:
            if request.attempt is not None:
                self.model.left(request.attempt)
            if request.is_waiting:
                self._resume(request, Killed())
            else:
                self._requests.remove(request)
        self._workers[at] = self._worker()

    def reload(self) -> None:
        """New workers with changed settings; the old ones end what they have."""
        breaker = self._settings.breaker
        assert breaker is not None
        other = OPEN_FOR[OPEN_FOR[0] == breaker.open_for]
        changed = replace(breaker, open_for=other, failures=self._random.randint(1, 3))
        self._settings = replace(self._settings, breaker=changed)
        self._note(f"reload open_for={other} failures={changed.failures}")
        self._workers = [self._worker() for _ in range(WORKERS)]

    def register(self) -> None:
        self._note("registers d")
        self._random.choice(self._workers).register("echo", "d", weight=self._random.randint(1, 3))

    def deregister(self) -> None:
        found = [one for one in self.model.view().instances if one.id == "d"]
        for instance in found:
            self._note("deregisters d")
            self._random.choice(self._workers).registry.deregister("echo", "d")
            self.model.gone(instance)

    def sweep(self) -> None:
        self._random.choice(self._workers).registry.sweep()

    def steer(self) -> None:
        view = self.model.view()
        instance = self._random.choice(view.instances)
        action = self._random.choice(("drain", "undrain", "disable", "enable"))
        self._note(f"steers {instance.id}: {action}")
        Fitness.steer(self._random.choice(self._workers), instance, view, action)

    # --- the end ---
    def _settle(self) -> None:
        """All that is under way ends; nothing is held; once all is well again, everybody serves again."""
        self._note("settles")
        while self._requests:
            request = self._requests[0]
            if request.is_waiting:
                self._resume(request, answer())
            else:
                self._stream(request, StopIteration())
        self.model.check()
        for name, sums in self._node.held().items():
            assert not any(sums), f"{name} is left at {sums}"
        for worker in self._workers[:1]:
            for instance in self.model.view().instances:
                for action in ("enable", "undrain"):
                    Fitness.steer(worker, instance, self.model.view(), action)
        self._clock.advance(max(*OPEN_FOR, REQUEST) + 10.0)  # every lease, phase and mark has ended
        self.model.check_leases()
        for _ in range(RETURNING):
            if set(self.model.standing().values()) == {"closed"}:
                return
            request = self._begin(self._random.choice(self._workers))
            refusal = request.task.error
            assert not isinstance(refusal, (CircuitOpen, NoInstance)), f"{refusal} though all is well"
            self._resume(request, answer())
            self.model.check()
        raise AssertionError(f"after {RETURNING} good requests: {self.model.standing()}")


_WEIGHTED: dict[Callable[[Schedule], None], float] = {
    Schedule.arrive: 8,
    Schedule.backend_answers: 8,
    Schedule.body_goes_on: 3,
    Schedule.client_leaves: 0.7,
    Schedule.time_passes: 2.0,
    Schedule.mood_changes: 0.8,
    Schedule.worker_dies: 0.3,
    Schedule.reload: 0.2,
    Schedule.register: 0.5,
    Schedule.deregister: 0.5,
    Schedule.sweep: 0.3,
    Schedule.steer: 0.4,
}
ACTIONS = tuple(_WEIGHTED)
ACTION_WEIGHTS = tuple(_WEIGHTED.values())
