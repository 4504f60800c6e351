"""Numbers with a unit behind them: durations, sizes, shares, whole numbers; from text to number and back.

Each `parse_x` raises `UnitError`; each `format_x` writes what `parse_x` reads back as the very same number.
"""

from __future__ import annotations

import re

LARGEST = 2**31 - 1  # of whole numbers: what every C interface below us takes
LONGEST = 8760 * 3600.0  # of durations: a year; socket timeouts overflow far above it


class UnitError(ValueError):
    """A text is not of the unit. The message never holds the text, which may be a secret.

    likely: what was probably meant, in full; None when there is no good guess.
    """

    def __init__(self, message: str, likely: str | None = None) -> None:
        super().__init__(message)
        self.likely = likely


NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,25})?"
is_number = re.compile(NUMBER).fullmatch


def plain(number: float) -> str:
    """A float without an exponent, in as many digits as its repr."""
    text = repr(number)
    if "e" in text:
        from decimal import Decimal  # rarely needed, and a quarter of this package's import time

        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


# --- durations, in seconds -------------------------------------------------------------------------------------------
SECONDS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(rf"({NUMBER})(ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds. `500ms`, `3s`, `1.5m`, `1h`; zero, or from a microsecond to 8760h."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise UnitError("not a duration", likely=f"{text}s" if is_number(text) else None)
    number = float(found[1])
    seconds = number / 1000 if found[2] == "ms" else number * SECONDS[found[2]]
    if seconds > LONGEST:
        raise UnitError("longer than 8760h")
    if 0 < seconds < 1e-6:
        raise UnitError("shorter than a microsecond")
    return seconds


def parse_timeout(text: str) -> float:
    """A duration that is not zero."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise UnitError("zero is not possible here")
    return seconds


def format_duration(seconds: float) -> str:
    """A whole number of the largest unit that allows it, else seconds with a fraction."""
    if not seconds:
        return "0s"
    for unit, factor in SECONDS.items():
        if seconds % factor == 0:
            return f"{int(seconds) // factor}{unit}"
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds / 1000 == seconds else f"{plain(seconds)}s"


# --- sizes, in bytes -------------------------------------------------------------------------------------------------
_BYTES = {"TiB": 1024**4, "GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "B": 1}
_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?(B|KiB|MiB|GiB|TiB)")
_NEAR_SIZE = re.compile(r"([0-9]{1,15}) ?([kmgt]?)i?b?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes. `512B`, `64KiB`, `1.5MiB`; a whole number of bytes, below 2**63."""
    found = _SIZE.fullmatch(text)
    if not found:
        near = _NEAR_SIZE.fullmatch(text)
        raise UnitError("not a size", likely=f"{near[1]}{near[2].upper()}{'i' if near[2] else ''}B" if near else None)
    digits, fraction = found[1], found[2] or ""
    size, rest = divmod(int(digits + fraction) * _BYTES[found[3]], int(10 ** len(fraction)))
    if rest:
        raise UnitError("not a whole number of bytes")
    if size >= 2**63:
        raise UnitError("too large")
    return size


def parse_capacity(text: str) -> int:
    """A size that is not zero."""
    size = parse_size(text)
    if size <= 0:
        raise UnitError("zero is not possible here")
    return size


def format_size(size: int) -> str:
    for unit, factor in _BYTES.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_byte_rate(text: str) -> int:
    """Bytes a second, written `1KiB/s`."""
    if not text.endswith("/s"):
        raise UnitError("not a size a second")
    return parse_capacity(text[:-2])


def format_byte_rate(size: int) -> str:
    return f"{format_size(size)}/s"


# --- shares, as fractions of one -------------------------------------------------------------------------------------
_SHARE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?%")
_FRACTION = re.compile(r"0\.([0-9]{1,2})")


def parse_share(text: str) -> float:
    """A fraction of one, written `20%`; 0% to 100%."""
    if not _SHARE.fullmatch(text):
        fraction = _FRACTION.fullmatch(text)
        likely = f"{int(fraction[1].ljust(2, '0'))}%" if fraction else f"{text}%" if is_number(text) else None
        raise UnitError("not a share", likely=likely)
    share = float(text[:-1]) / 100
    if share > 1:
        raise UnitError("more than 100%")
    return share


def format_share(share: float) -> str:
    return f"{plain(round(share * 100, 9))}%"


# --- whole numbers ---------------------------------------------------------------------------------------------------
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")


def parse_whole(text: str) -> int:
    """A whole number of the YAML 1.2 core schema: decimal, 0o octal, 0x hexadecimal."""
    if not _WHOLE.fullmatch(text):
        raise UnitError("not a whole number")
    if len(text) > 20:  # int() of thousands of digits is slow, and refused by Python above 4300
        raise UnitError("too large")
    return int(text, 16 if text.startswith("0x") else 8 if text.startswith("0o") else 10)
