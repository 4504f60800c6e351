from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from gateway.config.addresses import parse_bind
from gateway.config.units import Network
from gateway.state.addresses import AddressRule, is_local

PRIVATE = [Network("127.0.0.0/8"), Network("10.0.0.0/8"), Network("::1/128")]
OWN = {"10.0.0.5", "127.0.0.1", "127.0.0.9", "::1", "0.0.0.0", "::"}  # of the machine that the rule is told about


def rule(*binds: str) -> AddressRule:
    return AddressRule(PRIVATE, map(parse_bind, binds), local=lambda address: str(address) in OWN)


def test_an_address_inside_the_networks_passes() -> None:
    assert rule().check("10.1.2.3", 80, ["10.1.2.3"]) is None


def test_an_address_outside_the_networks_is_told() -> None:
    assert rule().check("8.8.8.8", 80, ["8.8.8.8"]) == "8.8.8.8 is outside admin.register_networks"


def test_every_address_of_a_name_must_be_inside() -> None:
    told = rule().check("api.test", 80, ["10.1.2.3", "8.8.8.8"])
    assert told == "api.test resolves to 8.8.8.8, which is outside admin.register_networks"


@pytest.mark.parametrize("disguise", ["::ffff:8.8.8.8", "::ffff:808:808", "169.254.169.254", "fe80::1%eth0", "0.0.0.0"])
def test_no_disguise_gets_outside(disguise: str) -> None:
    assert rule().check("api.test", 80, [disguise]) is not None


def test_an_ipv4_address_in_ipv6_clothes_is_judged_as_ipv4() -> None:
    assert rule().check("api.test", 80, ["::ffff:10.1.2.3"]) is None


def test_instances_of_the_configuration_may_be_anywhere() -> None:
    assert rule().check("8.8.8.8", 80, ["8.8.8.8"], registered=False) is None


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:8000", "127.0.0.1"),
        ("0.0.0.0:8000", "127.0.0.1"),
        ("0.0.0.0:8000", "127.0.0.9"),
        ("0.0.0.0:8000", "10.0.0.5"),
        ("10.0.0.5:8000", "10.0.0.5"),
        ("10.0.0.5:8000", "::ffff:10.0.0.5"),
        ("[::]:8000", "10.0.0.5"),
        ("[::]:8000", "::1"),
        ("[::1]:8000", "::1"),
        ("127.0.0.1:8000", "0.0.0.0"),
        ("gateway.test:8000", "10.0.0.5"),
    ],
)
@pytest.mark.parametrize("registered", [True, False])
def test_the_gateway_itself_is_never_a_backend(bind: str, address: str, registered: bool) -> None:
    assert rule(bind).check("x.test", 8000, [address], registered=registered) is not None


def test_the_sentence_names_the_gateway() -> None:
    assert (
        rule("0.0.0.0:8000").check("127.0.0.1", 8000, ["127.0.0.1"])
        == "127.0.0.1 with port 8000 is this gateway itself"
    )


@pytest.mark.parametrize(
    ("bind", "address", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8080),  # another port
        ("127.0.0.1:8000", "127.0.0.9", 8000),  # another socket of this machine
        ("0.0.0.0:8000", "10.7.7.7", 8000),  # another machine
        ("unix:/run/gateway.sock", "127.0.0.1", 8000),
    ],
)
def test_neighbours_of_a_listener_are_no_listeners(bind: str, address: str, port: int) -> None:
    assert rule(bind).check("x.test", port, [address]) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "::"])
def test_loopback_and_wildcards_are_local(address: str) -> None:
    assert is_local(ip_address(address))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])  # documentation networks: nobody's
def test_foreign_addresses_are_not_local(address: str) -> None:
    assert not is_local(ip_address(address))


def test_an_address_of_an_interface_is_local() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network interface")
        own = probe.getsockname()[0]
    assert is_local(ip_address(own))
