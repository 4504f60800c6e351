"""A cookie that keeps a client on its instance: `<token>.<issued>.<mac>`.

token: stands for the instance and tells nothing of it: HMAC-SHA256 of its key, keyed by the secret, because the few
addresses of a network are quickly tried against a plain digest. issued: Unix milliseconds. mac: HMAC-SHA256 over
service, token and issued (RFC 2104), so that nobody chooses an instance, and no cookie of one service serves another.
Both are cut to 96 and 128 bits and written in base64url (RFC 4648, 5), which needs no quoting in a cookie.

The cookie is a preference. What is not as issued, by whomever and for whatever reason, is no claim, and never an error.
"""

from __future__ import annotations

import hmac
import math
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from itertools import islice

from gateway.config.model import Sticky as Settings
from gateway.exchange import Exchange

from .cookies import cookies

MAX_AHEAD = 60.0  # seconds that another machine's clock, by which a cookie was issued, may be ahead
_MAX_LENGTH = 64  # characters; ours has 16 + 1 + 13 + 1 + 22
_MOST = 4  # cookies of the name that are looked at
_TOKEN_BYTES, _MAC_BYTES = 12, 16  # multiples of 3 have no padding; the other one's is cut off


@dataclass(frozen=True, slots=True)
class Claim:
    """What a valid cookie says. token: of the instance, as `Sticky.token` makes it. issued: Unix seconds."""

    token: str
    issued: float


class Sticky:
    """Reads and makes the cookies of one service. Immutable."""

    def __init__(self, service: str, settings: Settings) -> None:
        self._service = service
        self._secret = settings.secret.reveal().encode()
        self._name = settings.cookie
        self._ttl = settings.ttl
        secure = "; Secure" if settings.secure else ""
        self._attributes = f"; Path=/; Max-Age={math.ceil(settings.ttl)}; HttpOnly; SameSite=Lax{secure}"

    def claim(self, exchange: Exchange, now: float) -> Claim | None:
        """The claim of the request's cookie at `now`, Unix seconds; None when there is none that is valid.

        Of several cookies of the name the first valid one counts: a stale one for another path does no harm.
        """
        for value in islice(cookies(exchange.headers, self._name), _MOST):
            claim = self._verified(value)
            if claim is not None and -MAX_AHEAD <= now - claim.issued <= self._ttl:
                return claim
        return None

    def token(self, instance_key: str) -> str:
        """What stands for the instance with this key; keep it, making one takes microseconds."""
        return self._digest("token", instance_key, _TOKEN_BYTES)

    def issue(self, token: str, now: float) -> tuple[str, str]:
        """The header that gives the client a cookie for this token."""
        signed = f"{token}.{int(now * 1000)}"
        return "Set-Cookie", f"{self._name}={signed}.{self._mac(signed)}{self._attributes}"

    def due(self, claim: Claim, now: float) -> bool:
        """Whether it is time to issue the claim's cookie anew: half its life is over."""
        return now - claim.issued >= self._ttl / 2

    def _verified(self, value: str) -> Claim | None:
        if len(value) > _MAX_LENGTH or not value.isascii():
            return None
        signed, _, mac = value.rpartition(".")
        token, _, issued = signed.rpartition(".")
        if not (token and issued.isdigit()) or not hmac.compare_digest(mac, self._mac(signed)):
            return None
        return Claim(token, int(issued) / 1000)

    def _mac(self, signed: str) -> str:
        return self._digest("cookie", signed, _MAC_BYTES)

    def _digest(self, what: str, text: str, size: int) -> str:
        digest = hmac.digest(self._secret, f"{what}\0{self._service}\0{text}".encode(), "sha256")
        return urlsafe_b64encode(digest[:size]).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return f"Sticky({self._service!r}, {self._name!r})"
