"""What a unit writes it reads back as the very same value, and whatever it is given it takes or refuses."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import quantities, texts, units
from gateway.config.quantities import UnitError
from gateway.config.units import Unit

SECRET = "hunter2"
UNITS: list[Unit] = [one for module in (units, texts) for one in vars(module).values() if isinstance(one, Unit)]
decimals = st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,9})?", fullmatch=True)
quick = settings(deadline=None, max_examples=300)


def read(unit: Unit, text: str) -> object:
    """The value, or None when the unit refuses the text, without quoting it."""
    try:
        return unit.parse(text)
    except UnitError as error:
        assert SECRET not in str(error)
        return None


@quick
@given(
    decimals,
    st.sampled_from(
        ["ms", "s", "m", "h", "B", "KiB", "MiB", "GiB", "TiB", "B/s", "KiB/s", "%", "/s", "/m", "/h", "x request"]
    ),
)
def test_numbers_with_units_are_written_as_they_are_read(number: str, suffix: str):
    for unit in UNITS:
        value = read(unit, number + suffix)
        if value is not None and not unit.secret:
            again = unit.format(value)
            assert unit.parse(again) == value
            assert unit.format(unit.parse(again)) == again
            assert unit.pattern is None or re.search(unit.pattern, again)


@quick
@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9:/.@{}\[\]*~?-]{1,30}", fullmatch=True))
def test_any_text_is_taken_or_refused_by_every_unit(text: str):
    for unit in UNITS:
        read(unit, text + SECRET)
        value = read(unit, text)
        if value is not None and not unit.secret:
            written = unit.format(value)
            assert unit.parse(written) == value
            assert unit.pattern is None or re.search(unit.pattern, text)


@quick
@given(st.floats(min_value=1e-6, max_value=quantities.LONGEST))
def test_every_duration_can_be_written(seconds: float):
    assert quantities.parse_duration(quantities.format_duration(seconds)) == seconds


@quick
@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_every_size_can_be_written(size: int):
    assert quantities.parse_size(quantities.format_size(size)) == size
