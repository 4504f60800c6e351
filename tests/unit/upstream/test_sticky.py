from __future__ import annotations

import re

import pytest

from gateway.config.model import Sticky as Settings
from gateway.config.units import Secret
from gateway.exchange import Exchange
from gateway.upstream.sticky import MAX_AHEAD, Claim, Sticky
from tests.unit.upstream.balancers.support import exchange

NOW = 1_700_000_000.0
KEY = "echo/a@http://10.0.0.1:8080"


def sticky(service: str = "echo", secret: str = "s" * 32, **more: object) -> Sticky:
    return Sticky(service, Settings(cookie="gw", secret=Secret(secret), **more))  # type: ignore[arg-type]


def value(cookie: tuple[str, str]) -> str:
    return cookie[1].partition("=")[2].partition(";")[0]


def sent(*values: str) -> Exchange:
    return exchange(headers=[("Host", "h"), ("Cookie", "a=1; " + "; ".join(f"gw={one}" for one in values))])


ISSUED = value(sticky().issue(sticky().token(KEY), NOW))


def test_what_was_issued_is_claimed() -> None:
    assert sticky().claim(sent(ISSUED), NOW + 5) == Claim(sticky().token(KEY), NOW)


def test_the_cookie_has_what_keeps_it_from_scripts_and_other_sites() -> None:
    name, text = sticky(ttl=90.5).issue("token", NOW)
    assert name == "Set-Cookie"
    assert re.fullmatch(
        r"gw=token\.1700000000000\.[A-Za-z0-9_-]{22}; Path=/; Max-Age=91; HttpOnly; SameSite=Lax; Secure", text
    )
    assert "Secure" not in sticky(secure=False).issue("token", NOW)[1]


def test_the_token_tells_nothing_and_depends_on_service_and_secret() -> None:
    tokens = {
        sticky().token(KEY), sticky("users").token(KEY), sticky(secret="t" * 32).token(KEY), sticky().token(KEY + "1")
    }  # fmt: skip
    assert len(tokens) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16}", token) for token in tokens)


def test_a_request_without_the_cookie_claims_nothing() -> None:
    assert sticky().claim(exchange(), NOW) is None
    assert sticky().claim(exchange(headers=[("Cookie", "gw2=x; g=y")]), NOW) is None


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        "..",
        "a.b.c",
        ISSUED[:-1],
        ISSUED + "A",
        ISSUED.replace(".17", ".18"),
        ("b" if ISSUED[0] == "a" else "a") + ISSUED[1:],
        ISSUED.rpartition(".")[0] + ".",
        ISSUED.rpartition(".")[0],
        f'"{ISSUED}"',
        ISSUED + "\xe9",
        ISSUED.replace(".", ".\u0661", 1),
        "a" * 5000,
        "." * 64,
    ],
)
def test_what_was_not_issued_is_no_claim(forged: str) -> None:
    assert sticky().claim(sent(forged), NOW) is None


def test_a_cookie_of_another_service_or_secret_is_no_claim() -> None:
    assert sticky("users").claim(sent(ISSUED), NOW) is None
    assert sticky(secret="t" * 32).claim(sent(ISSUED), NOW) is None


@pytest.mark.parametrize(
    ("age", "valid"), [(0, True), (3600, True), (3601, False), (-MAX_AHEAD, True), (-MAX_AHEAD - 1, False)]
)
def test_a_cookie_holds_for_its_ttl(age: float, valid: bool) -> None:
    assert (sticky().claim(sent(ISSUED), NOW + age) is not None) is valid


@pytest.mark.parametrize("issued", ["-5", "1e9", " 1700000000", "1700000000.0", "9" * 30])
def test_a_signed_time_that_we_never_write_is_no_claim(issued: str) -> None:
    made = sticky()
    signed = f"token.{issued}"
    assert made.claim(sent(f"{signed}.{made._mac(signed)}"), NOW) is None


def test_the_first_valid_of_several_counts() -> None:
    assert sticky().claim(sent("stale.1.x", ISSUED), NOW) is not None
    assert sticky().claim(sent(*["stale.1.x"] * 4, ISSUED), NOW) is None


@pytest.mark.parametrize(("age", "due"), [(0, False), (1799, False), (1800, True)])
def test_it_is_issued_anew_when_half_of_its_life_is_over(age: float, due: bool) -> None:
    claim = sticky().claim(sent(ISSUED), NOW + age)
    assert claim is not None
    assert sticky().due(claim, NOW + age) is due


def test_the_secret_is_not_shown() -> None:
    assert repr(sticky()) == "Sticky('echo', 'gw')"
