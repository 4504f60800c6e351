"""Units of the configuration: how each kind of scalar is written, read, shown and described.

A `Unit` reads and writes one kind of value. In the model a unit is either a class of its own (`Secret`, `Network`) or
an annotation on a plain type: `Duration` is a float for the type checker and carries the unit for the loader, the JSON
Schema and the documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Literal

from . import quantities
from .quantities import LARGEST, NUMBER, SECONDS, UnitError, format_duration, is_number, parse_timeout, plain


@dataclass(frozen=True, slots=True)
class Unit:
    """How one kind of scalar is written.

    name: of the kind, in the documentation. allowed: completes "allowed: …" in an error.
    parse: text to value, raises UnitError. format: value to text, so that parse(format(value)) == value.
    scalar: what the YAML must hold; a text that came by ${…} is read whatever it looks like.
    pattern: a regular expression (ECMA-262) that every valid text matches; it may admit more than `parse`.
    secret: what was found is not shown in errors. fold: texts that differ only in case are the same key.
    bounds: smallest and largest value of a whole number.
    """

    name: str
    allowed: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str] = str
    scalar: Literal["text", "whole", "number", "flag"] = "text"
    pattern: str | None = None
    secret: bool = False
    fold: bool = False
    bounds: tuple[int, int] | None = None


# --- rates and windows -----------------------------------------------------------------------------------------------
_RATE = re.compile(rf"({NUMBER})/([smh])")
_TIMES_REQUEST = re.compile(rf"({NUMBER})x request")


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` events in `period` seconds (1, 60 or 3600), written `100/s`, `600/m`, `5000/h`."""

    count: float
    period: float

    @property
    def per_second(self) -> float:
        return self.count / self.period

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Raises UnitError."""
        found = _RATE.fullmatch(text)
        if not found:
            raise UnitError("not a rate", likely=f"{text}/s" if is_number(text) else None)
        count = float(found[1])
        if count <= 0:
            raise UnitError("zero is not possible here")
        return cls(count, float(SECONDS[found[2]]))

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in SECONDS.items() if seconds == self.period)
        return f"{plain(self.count)}/{unit}"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time: `seconds`, or `times_request` times the request timeout in force. Exactly one is set."""

    seconds: float | None = None
    times_request: float | None = None

    def resolve(self, request: float) -> float:
        """Seconds, given `timeouts.request` in seconds."""
        return self.seconds if self.seconds is not None else (self.times_request or 0.0) * request

    @classmethod
    def parse(cls, text: str) -> Window:
        """`10.5s` or `3.5x request`. Raises UnitError."""
        times = _TIMES_REQUEST.fullmatch(text)
        if not times:
            return cls(seconds=parse_timeout(text))
        if float(times[1]) <= 0:
            raise UnitError("zero is not possible here")
        return cls(times_request=float(times[1]))

    def __str__(self) -> str:
        return (
            format_duration(self.seconds) if self.seconds is not None else f"{plain(self.times_request or 0)}x request"
        )


# --- networks --------------------------------------------------------------------------------------------------------
class Network:
    """A network of addresses, `10.0.0.0/8` or `fc00::/7`.

    `address in network` also holds for the IPv6 form of an IPv4 address (::ffff:10.0.0.1), as a dual-stack socket
    reports it.
    """

    __slots__ = ("network",)

    def __init__(self, text: str) -> None:
        """Raises UnitError when `text` is no network or has bits set beyond its mask."""
        try:
            self.network = ip_network(text)
        except ValueError:
            try:
                likely = str(ip_network(text, strict=False))
            except ValueError:
                raise UnitError("not a network") from None
            raise UnitError("has bits beyond its mask", likely=likely) from None

    def __contains__(self, address: IPv4Address | IPv6Address | str) -> bool:
        """Raises ValueError for a text that is no address."""
        if isinstance(address, str):
            address = ip_address(address)
        if isinstance(address, IPv6Address) and address.ipv4_mapped and self.network.version == 4:
            address = address.ipv4_mapped
        return address.version == self.network.version and address in self.network

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.network == other.network

    def __hash__(self) -> int:
        return hash(self.network)

    def __str__(self) -> str:
        return str(self.network)

    def __repr__(self) -> str:
        return f"Network({str(self.network)!r})"


# --- secrets ---------------------------------------------------------------------------------------------------------
class Secret:
    """A text that is not shown, by repr nor str nor format. `reveal()` gives it to whoever must compare or sign."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Raises UnitError for the empty text: a token that nobody needs to know is none."""
        if not text:
            raise UnitError("empty")
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"


# --- the units -------------------------------------------------------------------------------------------------------
def whole(minimum: int, maximum: int = LARGEST) -> Unit:
    """The unit of whole numbers from `minimum` to `maximum`, both included."""

    def parse(text: str) -> int:
        number = quantities.parse_whole(text)
        if not minimum <= number <= maximum:
            raise UnitError("out of range")
        return number

    limits = f"from {minimum}" if maximum == LARGEST else f"from {minimum} to {maximum}"
    return Unit("whole number", f"a whole number {limits}", parse, scalar="whole", bounds=(minimum, maximum))


def _duration(limits: str, parse: Callable[[str], float]) -> Unit:
    allowed = f"a duration{limits} such as 500ms, 3s, 1m or 1h"
    return Unit("duration", allowed, parse, format_duration, pattern=r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$")


def _size(limits: str, parse: Callable[[str], int]) -> Unit:
    allowed = f"a size{limits} such as 512B, 64KiB or 2MiB"
    return Unit("size", allowed, parse, quantities.format_size, pattern=r"^[0-9]+(\.[0-9]+)?([KMGT]i)?B$")


def _bound(text: str) -> float:
    if not quantities.is_number(text) or float(text) <= 1:
        raise UnitError("not a number above 1")
    return float(text)


BOUND = Unit("number", "a number above 1 such as 1.25", _bound, plain, scalar="number")
DURATION = _duration("", quantities.parse_duration)
TIMEOUT = _duration(" above zero", parse_timeout)
SIZE = _size("", quantities.parse_size)
CAPACITY = _size(" above zero", quantities.parse_capacity)
BYTE_RATE = Unit(
    "size a second",
    "a size a second such as 1KiB/s",
    quantities.parse_byte_rate,
    quantities.format_byte_rate,
    pattern=r"^[0-9]+(\.[0-9]+)?([KMGT]i)?B/s$",
)
SHARE = Unit(
    "share", "a share from 0% to 100%", quantities.parse_share, quantities.format_share, pattern=r"^[0-9]+(\.[0-9]+)?%$"
)
RATE = Unit("rate", "a rate such as 100/s, 600/m or 5000/h", Rate.parse, pattern=r"^[0-9]+(\.[0-9]+)?/[smh]$")
WINDOW = Unit(
    "window",
    'a duration such as 10.5s, or "3.5x request"',
    Window.parse,
    pattern=r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|x request)$",
)
NETWORK = Unit(
    "network", "a network such as 10.0.0.0/8 or fc00::/7, or an address", Network, pattern=r"^[0-9A-Fa-f:.]+(/[0-9]+)?$"
)
SECRET = Unit("secret", "a text that is not empty", Secret, secret=True, pattern=r"[\s\S]")
CLASSES: dict[type, Unit] = {Rate: RATE, Window: WINDOW, Network: NETWORK, Secret: SECRET}  # constant

# What the model is annotated with: plain numbers for whoever reads a value, the unit for the loader.
Duration = Annotated[float, DURATION]  # seconds, zero included
Timeout = Annotated[float, TIMEOUT]  # seconds, above zero
Size = Annotated[int, SIZE]  # bytes, zero included
Capacity = Annotated[int, CAPACITY]  # bytes, above zero
ByteRate = Annotated[int, BYTE_RATE]  # bytes a second
Share = Annotated[float, SHARE]  # 0..1
Bound = Annotated[float, BOUND]
Positive = Annotated[int, whole(1)]
Natural = Annotated[int, whole(0)]
