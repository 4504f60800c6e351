from __future__ import annotations

import copy
import json
import pickle
from ipaddress import ip_address

import pytest

from gateway.config.quantities import UnitError
from gateway.config.units import Network, Rate, Secret, Window, whole


@pytest.mark.parametrize(
    ("text", "count", "period", "per_second"),
    [("100/s", 100, 1, 100), ("600/m", 600, 60, 10), ("5000/h", 5000, 3600, 5000 / 3600), ("0.5/s", 0.5, 1, 0.5)],
)
def test_rates(text: str, count: float, period: float, per_second: float):
    rate = Rate.parse(text)
    assert (rate.count, rate.period, rate.per_second) == (count, period, per_second)
    assert str(rate) == text


@pytest.mark.parametrize(
    ("text", "likely"), [("100", "100/s"), ("100/d", None), ("0/s", None), ("/s", None), ("-1/s", None)]
)
def test_what_is_no_rate_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        Rate.parse(text)
    assert refused.value.likely == likely


def test_a_window_is_a_time_or_a_multiple_of_the_request_timeout():
    assert Window.parse("10.5s").resolve(request=30) == 10.5
    assert Window.parse("3.5x request").resolve(request=3) == 10.5
    assert [str(Window.parse(text)) for text in ("10500ms", "3.5x request")] == ["10500ms", "3.5x request"]


@pytest.mark.parametrize("text", ["0s", "0x request", "3x", "3.5 x request", "10.5", "x request"])
def test_what_is_no_window_is_refused(text: str):
    with pytest.raises(UnitError):
        Window.parse(text)


def test_a_network_holds_addresses_in_every_form():
    network = Network("10.0.0.0/8")
    assert "10.1.2.3" in network
    assert ip_address("10.1.2.3") in network
    assert "::ffff:10.1.2.3" in network
    assert "11.0.0.1" not in network
    assert "fc00::1" not in network
    assert "fc00::1" in Network("fc00::/7")
    assert "192.0.2.7" in Network("192.0.2.7")
    assert "::ffff:10.1.2.3" in Network("::ffff:0:0/96")


def test_networks_are_values():
    assert Network("10.0.0.0/8") == Network("10.0.0.0/255.0.0.0")
    assert len({Network("10.0.0.0/8"), Network("10.0.0.0/8"), Network("fc00::/7")}) == 2
    assert str(Network("::1")) == "::1/128"
    assert repr(Network("::1")) == "Network('::1/128')"
    assert pickle.loads(pickle.dumps(Network("::1"))) == Network("::1")


@pytest.mark.parametrize(
    ("text", "likely"), [("10.0.0.5/8", "10.0.0.0/8"), ("10.0.0.0/33", None), ("all", None), ("", None)]
)
def test_what_is_no_network_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        Network(text)
    assert refused.value.likely == likely


def test_a_secret_is_shown_by_reveal_only():
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    shown = [str(secret), repr(secret), f"{secret}", f"{secret}", repr([secret])]
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_secrets_are_values():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert pickle.loads(pickle.dumps(Secret("a"))) == copy.deepcopy(Secret("a")) == Secret("a")


def test_an_empty_secret_is_refused():
    with pytest.raises(UnitError, match="empty"):
        Secret("")


def test_whole_numbers_have_bounds():
    unit = whole(1, 32)
    assert unit.allowed == "a whole number from 1 to 32"
    assert [unit.parse("1"), unit.parse("0x20")] == [1, 32]
    for text in ("0", "33", "-1"):
        with pytest.raises(UnitError, match="out of range"):
            unit.parse(text)
    with pytest.raises(UnitError, match="out of range"):
        whole(0).parse("2147483648")
