from __future__ import annotations

import pytest

from gateway.config.model import Config
from gateway.server.roster import (
    BACKOFF_LAST,
    BOOT_LIMIT,
    HANDOVER,
    KILL_GRACE,
    STEADY,
    Generation,
    NoSlot,
    Post,
    Roster,
)
from gateway.state.control import SLOTS, ControlPage


def generation(number: int, size: int = 2) -> Generation:
    return Generation(number=number, config=Config(), cfg=None, size=size, accepted_at=100.0 + number)


class Crew:
    """A roster with workers that are forked and become ready when told to."""

    def __init__(self, size: int = 2) -> None:
        self.page = ControlPage()
        self.now = 0.0
        self.roster = Roster(self.page, generation(1, size), self.now)
        self.age = 0

    def fork(self) -> list[Post]:
        forked = []
        while (missing := self.roster.missing(self.now)) is not None:
            self.age += 1
            forked.append(self.roster.appoint(missing, self.age, self.now))
        return forked

    def ready(self, *posts: Post) -> None:
        for post in posts:
            post.cell.ready = True

    def leave(self, posts: list[Post], by: float = 10.0) -> None:
        for post in posts:
            post.leave_by = by

    def serving(self) -> list[Post]:
        """Fork and be ready; what has to leave leaves."""
        forked = self.fork()
        self.ready(*forked)
        self.leave(self.roster.take_over(self.now) or [])
        self.now += HANDOVER
        self.roster.put_in_force(self.now)
        return forked


def test_the_first_worker_that_is_ready_puts_the_first_generation_in_force():
    crew = Crew()
    first, second = crew.fork()
    assert crew.page.accepted == 1
    assert crew.roster.take_over(crew.now) is None
    assert not crew.roster.put_in_force(crew.now)
    assert crew.roster.unsettled
    crew.ready(second)
    assert crew.roster.put_in_force(crew.now)
    assert crew.page.generation == 1
    assert crew.page.loaded_at == 101.0
    assert not crew.roster.unsettled
    assert (first.slot, first.seat, second.slot, second.seat) == (0, 0, 1, 1)


def test_a_candidate_takes_over_only_when_all_of_it_is_ready():
    crew = Crew()
    before = crew.serving()
    crew.roster.propose(generation(2), crew.now)
    one, other = crew.fork()
    assert [one.slot, other.slot] == [2, 3]
    assert [one.seat, other.seat] == [0, 1]
    crew.ready(one)
    assert crew.roster.take_over(crew.now) is None
    assert crew.page.accepted == 2
    crew.ready(other)
    assert crew.roster.take_over(crew.now) == before
    assert crew.roster.current.number == 2


def test_a_generation_is_in_force_when_no_other_accepts_connections():
    crew = Crew()
    before = crew.serving()
    crew.roster.propose(generation(2), crew.now)
    crew.ready(*crew.fork())
    crew.leave(crew.roster.take_over(crew.now) or [])
    assert not crew.roster.put_in_force(crew.now)
    before[0].cell.closed = True
    assert not crew.roster.put_in_force(crew.now)
    assert crew.page.generation == 1
    crew.roster.discharge(before[1], crew.now)
    assert crew.roster.put_in_force(crew.now)
    assert crew.page.generation == 2
    assert not crew.roster.unsettled


def test_workers_that_do_not_say_whether_they_accept_are_waited_for_only_shortly():
    crew = Crew()
    crew.serving()
    crew.roster.propose(generation(2), crew.now)
    crew.ready(*crew.fork())
    crew.leave(crew.roster.take_over(crew.now) or [])
    assert not crew.roster.put_in_force(crew.now)
    assert crew.roster.put_in_force(crew.now + HANDOVER)


def test_a_worker_that_dies_while_others_drain_is_missed_at_once():
    crew = Crew()
    crew.serving()
    crew.roster.propose(generation(2), crew.now)
    one, _ = crew.serving()
    crew.roster.discharge(one, crew.now)
    (again,) = crew.fork()
    assert again.generation.number == 2
    assert (again.slot, again.seat) == (one.slot, one.seat)


def test_a_worker_that_dies_while_a_candidate_starts_comes_back_in_its_own_generation():
    crew = Crew()
    before = crew.serving()
    crew.roster.propose(generation(2), crew.now)
    crew.fork()
    crew.roster.discharge(before[0], crew.now)
    (again,) = crew.fork()
    assert again.generation.number == 1


def test_slots_are_the_lowest_free_and_differ_between_generations_that_live():
    crew = Crew(size=3)
    before = crew.serving()
    crew.roster.discharge(before[1], crew.now)
    crew.roster.propose(generation(2, size=3), crew.now)
    forked = crew.fork()
    assert sorted(post.slot for post in crew.roster) == [0, 1, 2, 3, 4, 5]
    assert {post.slot for post in forked if post.generation.number == 1} == {1}


def test_seats_of_a_generation_stay_dense_whatever_the_slots_are():
    crew = Crew(size=4)
    posts = crew.serving()
    crew.roster.propose(generation(2, size=4), crew.now)
    assert [post.seat for post in crew.serving()] == [0, 1, 2, 3]
    for post in posts[1:3]:
        crew.roster.discharge(post, crew.now)
    crew.roster.propose(generation(3, size=4), crew.now)
    forked = crew.fork()
    assert [post.slot for post in forked] == [1, 2, 8, 9]
    assert [post.seat for post in forked] == [0, 1, 2, 3]


def test_a_withdrawn_candidate_leaves_what_serves_alone():
    crew = Crew()
    before = crew.serving()
    crew.roster.propose(generation(2), crew.now)
    started = crew.fork()
    crew.ready(started[0])
    assert (crew.page.accepted, crew.roster.next_number) == (2, 2)
    leaving = crew.roster.withdraw()
    assert leaving == started
    assert (crew.page.accepted, crew.roster.next_number) == (1, 2)
    crew.leave(leaving)
    assert crew.roster.take_over(crew.now) is None
    assert crew.roster.staying(crew.roster.current) == before
    assert crew.fork() == []
    assert crew.page.generation == 1


def test_a_candidate_is_overtaken_by_the_next():
    crew = Crew()
    before = crew.serving()
    crew.roster.propose(generation(2), crew.now)
    started = crew.fork()
    overtaken = crew.roster.propose(generation(crew.roster.next_number), crew.now)
    assert overtaken == started
    crew.leave(overtaken)
    fresh = crew.fork()
    crew.ready(*fresh, *started)
    assert crew.roster.take_over(crew.now) == before
    assert crew.roster.current.number == crew.page.accepted == 2
    assert crew.roster.current is fresh[0].generation
    assert crew.roster.next_number == 3


def test_failures_to_start_are_retried_ever_more_slowly():
    crew = Crew(size=1)
    crew.serving()
    current = crew.roster.current
    (post,) = crew.roster
    crew.roster.discharge(post, crew.now)
    pauses = [current.failed(crew.now) for _ in range(20)]
    assert pauses[0] == 0
    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[-1] == BACKOFF_LAST
    assert crew.roster.missing(crew.now) is None
    assert crew.roster.missing(crew.now + BACKOFF_LAST) is current


def test_a_worker_that_is_to_be_forked_later_is_looked_for_soon():
    crew = Crew(size=1)
    (post,) = crew.serving()
    assert not crew.roster.waits()
    crew.roster.discharge(post, crew.now)
    crew.roster.current.failed(crew.now)
    crew.roster.current.failed(crew.now)
    assert crew.roster.missing(crew.now) is None
    assert crew.roster.waits()


def test_a_worker_that_lasted_ends_the_row_of_failures():
    crew = Crew(size=1)
    for age, failures in ((STEADY / 2, 1), (STEADY, 0)):
        crew.roster.current.failures = 1
        crew.roster.current.not_before = 0.0
        (post,) = crew.serving()
        crew.now = post.since + age
        crew.roster.discharge(post, crew.now)
        assert crew.roster.current.failures == failures


def test_fewer_workers_let_the_highest_seats_go():
    crew = Crew(size=3)
    posts = crew.serving()
    crew.roster.current.size = 1
    assert crew.roster.surplus() == posts[1:]


def test_who_does_not_leave_or_start_in_time_is_overdue():
    crew = Crew()
    stays, slow = crew.fork()
    crew.ready(stays)
    assert crew.roster.overdue(BOOT_LIMIT) == []
    assert crew.roster.overdue(BOOT_LIMIT + 1) == [slow]
    crew.ready(slow)
    crew.leave([stays], by=20.0)
    assert crew.roster.overdue(20.0 + KILL_GRACE) == []
    assert crew.roster.overdue(21.0 + KILL_GRACE) == [stays]


def test_no_worker_is_appointed_beyond_the_slots():
    crew = Crew(size=SLOTS)
    assert len(crew.serving()) == SLOTS
    with pytest.raises(NoSlot):
        crew.roster.appoint(crew.roster.current, 1, crew.now)
