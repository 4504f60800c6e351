from __future__ import annotations

import gc
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.config.model import Config, Listener, Listeners, Server
from gateway.server import hooks
from gateway.server.handover import Handover
from gateway.server.roster import Generation, Post, Roster
from gateway.server.shared import Shared
from gateway.state.control import ControlPage

HANDOVER = Handover()  # nothing goes through it here


class Crew:
    def __init__(self, config: Config, size: int = 2) -> None:
        self.page = ControlPage()
        generation = Generation(1, config, None, size, 0.0)
        self.roster = Roster(self.page, generation, 0.0)
        self.posts: list[Post] = [self.roster.appoint(generation, age + 1, 0.0) for age in range(size)]
        shared = Shared(self.page, HANDOVER)
        self.plans = [hooks.plan(post, shared, workers=size) for post in self.posts]


def test_listeners_belong_to_the_planes_of_the_configuration_in_gunicorns_order():
    listeners = Listeners(external=Listener(bind=("a:1", "b:2")), internal=Listener(bind=("c:3",)))
    assert Crew(Config(listeners=listeners)).plans[0].planes == {0: "external", 1: "external", 2: "internal"}


def test_the_servers_section_is_handed_on():
    server = Server(threads=3, internal_threads=4, keepalive=5.5, client_idle=6.0, max_request_line=777)
    plan = Crew(Config(server=server)).plans[0]
    assert (plan.threads, plan.internal_threads, plan.keepalive, plan.client_idle) == (3, 4, 5.5, 6.0)
    assert plan.head_limits.line == 777


def test_connections_are_told_to_the_others_that_serve():
    crew = Crew(Config(), size=3)
    for number, (post, plan) in enumerate(zip(crew.posts, crew.plans, strict=True)):
        post.cell.ready = True
        plan.connections(10 + number)
    assert crew.plans[0].others() == [11, 12]
    crew.posts[1].cell.leave(drain=True)
    assert crew.plans[0].others() == [12]
    crew.posts[2].cell.ready = False
    assert crew.plans[0].others() == []


def test_a_worker_makes_way_until_the_gateway_stops():
    crew = Crew(Config())
    reloading = crew.plans[0].reloading
    assert not reloading()
    crew.posts[0].cell.leave(drain=True)
    assert reloading()
    crew.page.stop()
    assert not reloading()


def test_a_worker_tells_when_it_accepts_no_more():
    crew = Crew(Config())
    crew.plans[0].closed()
    assert crew.posts[0].cell.closed


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_workers_of_a_generation_are_spread_over_the_cpus():
    plans = Crew(Config(server=Server(pin_cpus=True))).plans
    assert len({plan.cpu for plan in plans}) == 2
    assert [plan.cpu for plan in Crew(Config(server=Server(pin_cpus=False))).plans] == [None, None]


def test_a_worker_does_not_collect_again_what_the_master_made():
    """A walk over it would copy its memory, and take longer than the rest of the start."""
    crew = Crew(Config())
    worker = SimpleNamespace(post=crew.posts[0])
    server = SimpleNamespace(shared=Shared(crew.page, HANDOVER), path=Path("gateway.yaml"))
    result = os.memfd_create("frozen")
    pid = os.fork()
    if not pid:
        try:
            hooks.post_fork(server, worker)
            os.write(result, str(gc.get_freeze_count()).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    frozen = os.pread(result, 100, 0)
    os.close(result)
    assert int(frozen) > 10_000
