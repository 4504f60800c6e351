"""Names resolved beside the requests."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from gateway.clock import FakeClock
from gateway.errors import NameUnresolved
from gateway.forward.resolver import Resolver
from tests.support.timing import ends_after


class Lookup:
    """A resolver of the system: answers what `table` says, waits while `gate` is not set, tells when it was asked."""

    def __init__(self, **table):
        self.table = table
        self.asked = []
        self.gates = {}
        self._changed = threading.Condition()

    def __call__(self, host):
        with self._changed:
            self.asked.append(host)
            self._changed.notify_all()
        if host in self.gates:
            assert self.gates[host].wait(30)
        found = self.table.get(host, socket.gaierror(-2, "Name or service not known"))
        if isinstance(found, Exception):
            raise found
        return found

    def wait_until_asked(self, times):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= times, 10), self.asked


@pytest.fixture
def resolvers():
    made = []

    def make(lookup, clock=None, **arguments):
        resolver = Resolver(lookup, (clock or FakeClock()).monotonic, **arguments)
        resolver.start()
        made.append((resolver, lookup))
        return resolver

    yield make
    for resolver, lookup in made:
        resolver.close()
        for gate in lookup.gates.values():
            gate.set()


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.002)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.1"])
def test_an_address_needs_no_resolver(host):
    assert list(Resolver(Lookup()).addresses(host, 0, 10)) == [host]


def test_the_first_request_waits_and_the_next_finds_the_addresses_there(resolvers):
    lookup = Lookup(name=["10.0.0.1"])
    resolver = resolvers(lookup)
    assert resolver.addresses("name", 5, 10) == ("10.0.0.1",)
    assert resolver.addresses("name", 5, 10) == ("10.0.0.1",)
    assert lookup.asked == ["name"]


def test_all_addresses_are_given_each_once_beginning_with_the_next(resolvers):
    resolver = resolvers(Lookup(name=["a", "b", "c", "b"]))
    found = ["".join(resolver.addresses("name", 5, 10)) for _ in range(4)]
    assert found == ["abc", "bca", "cab", "abc"]


def test_a_name_that_does_not_resolve_is_told_at_once(resolvers):
    resolver = resolvers(Lookup())
    with pytest.raises(NameUnresolved, match="nowhere does not resolve: Name or service not known"):
        resolver.addresses("nowhere", 5, 10)


def test_a_lookup_that_hangs_costs_its_limit_once(resolvers):
    lookup = Lookup(name=["10.0.0.1"])
    gate = lookup.gates["name"] = threading.Event()
    clock = FakeClock()
    resolver = resolvers(lookup, clock)
    with ends_after(0.1), pytest.raises(NameUnresolved, match="too long"):
        resolver.addresses("name", 0.1, 10)
    clock.advance(5)
    with ends_after(0), pytest.raises(NameUnresolved):
        resolver.addresses("name", 5, 10)  # nobody waits for the same look-up again
    gate.set()
    wait_until(lambda: _finds(resolver, "name"))


def _finds(resolver, name):
    try:
        return resolver.addresses(name, 0, 10)
    except NameUnresolved:
        return None


def test_a_lookup_that_hangs_does_not_block_other_names(resolvers):
    lookup = Lookup(other=["10.0.0.2"])
    lookup.gates["name"] = threading.Event()
    resolver = resolvers(lookup, threads=2)
    with pytest.raises(NameUnresolved):
        resolver.addresses("name", 0, 10)
    lookup.wait_until_asked(1)
    assert resolver.addresses("other", 5, 10) == ("10.0.0.2",)


def test_a_name_is_looked_up_again_when_its_time_is_over_and_nobody_waits(resolvers):
    lookup = Lookup(name=["10.0.0.1"], nudge=["10.0.0.9"])
    clock = FakeClock()
    resolver = resolvers(lookup, clock)
    resolver.addresses("name", 5, 10)
    lookup.table["name"] = ["10.0.0.2"]
    gate = lookup.gates["name"] = threading.Event()
    clock.advance(10.1)
    resolver.addresses("nudge", 5, 10)  # wakes a thread, which sees the new time
    lookup.wait_until_asked(3)
    assert resolver.addresses("name", 0, 10) == ("10.0.0.1",)
    gate.set()
    wait_until(lambda: resolver.addresses("name", 0, 10) == ("10.0.0.2",))


def test_the_last_good_addresses_stay_when_the_name_fails(resolvers):
    lookup = Lookup(name=["10.0.0.1"], nudge=["10.0.0.9"])
    clock = FakeClock()
    resolver = resolvers(lookup, clock, threads=1)
    resolver.addresses("name", 5, 10)
    del lookup.table["name"]
    clock.advance(10.1)
    resolver.addresses("nudge", 5, 10)
    lookup.wait_until_asked(3)
    resolver.addresses("name", 0, 10)
    clock.advance(10.1)
    lookup.table["nudge2"] = ["10.0.0.9"]
    resolver.addresses("nudge2", 5, 10)  # its only thread is through with the other look-ups
    assert resolver.addresses("name", 0, 10) == ("10.0.0.1",)


def test_names_that_nobody_uses_are_forgotten(resolvers):
    lookup = Lookup(name=["10.0.0.1"], nudge=["10.0.0.9"])
    clock = FakeClock()
    resolver = resolvers(lookup, clock, threads=1)
    resolver.addresses("name", 5, 10)
    clock.advance(301)
    resolver.addresses("nudge", 5, 10)
    lookup.table["name"] = ["10.0.0.2"]
    assert resolver.addresses("name", 5, 10) == ("10.0.0.2",)
    assert lookup.asked == ["name", "nudge", "name"]


def test_a_name_that_no_resolver_takes_is_unresolved(resolvers):
    resolver = resolvers(Lookup(**{"a..b": UnicodeError("label empty or too long")}))
    with pytest.raises(NameUnresolved, match="label empty"):
        resolver.addresses("a..b", 5, 10)


def test_closing_ends_waiting_and_threads(resolvers):
    before = set(threading.enumerate())
    resolver = Resolver(Lookup())
    with pytest.raises(NameUnresolved):
        resolver.addresses("never-started", 0.05, 10)
    resolver.start()
    resolver.close()
    wait_until(lambda: not set(threading.enumerate()) - before)
