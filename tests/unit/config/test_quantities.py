from __future__ import annotations

import pytest

from gateway.config.quantities import (
    UnitError,
    format_byte_rate,
    format_duration,
    format_share,
    format_size,
    parse_byte_rate,
    parse_capacity,
    parse_duration,
    parse_share,
    parse_size,
    parse_timeout,
    parse_whole,
)


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("0s", 0.0, "0s"),
        ("0ms", 0.0, "0s"),
        ("500ms", 0.5, "500ms"),
        ("3s", 3.0, "3s"),
        ("10.5s", 10.5, "10500ms"),
        ("60s", 60.0, "1m"),
        ("75s", 75.0, "75s"),
        ("1.5m", 90.0, "90s"),
        ("1h", 3600.0, "1h"),
        ("8760h", 31_536_000.0, "8760h"),
        ("0.25ms", 0.00025, "0.00025s"),
        ("0.001ms", 1e-6, "0.000001s"),
    ],
)
def test_durations_are_seconds(text: str, seconds: float, written: str):
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == written
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("30", "30s"),
        ("1.5", "1.5s"),
        ("", None),
        ("s", None),
        ("-3s", None),
        ("3 s", None),
        ("3S", None),
        ("3d", None),
        ("1h30m", None),
        ("1e3s", None),
        ("8761h", None),
        ("0.0001ms", None),
        ("3s\n", None),
        ("٣s", None),
        ("9" * 400 + "s", None),
    ],
)
def test_what_is_no_duration_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        parse_duration(text)
    assert refused.value.likely == likely


def test_a_timeout_is_above_zero():
    assert parse_timeout("1ms") == 0.001
    with pytest.raises(UnitError, match="zero"):
        parse_timeout("0s")


@pytest.mark.parametrize(
    ("text", "size", "written"),
    [
        ("0B", 0, "0B"),
        ("512B", 512, "512B"),
        ("64KiB", 65536, "64KiB"),
        ("1.5MiB", 1572864, "1536KiB"),
        ("1GiB", 2**30, "1GiB"),
        ("2TiB", 2**41, "2TiB"),
        ("1025B", 1025, "1025B"),
    ],
)
def test_sizes_are_bytes(text: str, size: int, written: str):
    assert parse_size(text) == size
    assert format_size(size) == written
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("64", "64B"),
        ("64k", "64KiB"),
        ("64KB", "64KiB"),
        ("2 mb", "2MiB"),
        ("1kib", "1KiB"),
        ("64KiBs", None),
        ("-1B", None),
        ("1.5B", None),
        ("0.1KiB", None),
        ("8388608TiB", None),
        ("", None),
    ],
)
def test_what_is_no_size_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        parse_size(text)
    assert refused.value.likely == likely


def test_a_capacity_is_above_zero():
    with pytest.raises(UnitError, match="zero"):
        parse_capacity("0MiB")


def test_byte_rates_are_sizes_a_second():
    assert parse_byte_rate("1KiB/s") == 1024
    assert format_byte_rate(1024) == "1KiB/s"
    for text in ("1KiB", "0B/s", "1KiB/m", "/s"):
        with pytest.raises(UnitError):
            parse_byte_rate(text)


@pytest.mark.parametrize(
    ("text", "share", "written"),
    [("20%", 0.2, "20%"), ("0%", 0.0, "0%"), ("100%", 1.0, "100%"), ("0.5%", 0.005, "0.5%"), ("33.3%", 0.333, "33.3%")],
)
def test_shares_are_fractions_of_one(text: str, share: float, written: str):
    assert parse_share(text) == pytest.approx(share)
    assert format_share(parse_share(text)) == written


@pytest.mark.parametrize(
    ("text", "likely"), [("0.2", "20%"), ("0.05", "5%"), ("20", "20%"), ("101%", None), ("-1%", None), ("%", None)]
)
def test_what_is_no_share_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        parse_share(text)
    assert refused.value.likely == likely


def test_whole_numbers_are_those_of_the_core_schema():
    assert [parse_whole(text) for text in ("7", "+7", "-7", "007", "0o17", "0x1F")] == [7, 7, -7, 7, 15, 31]
    for text in ("", "7.0", "1_000", "0b1", "1:30", "٣", "7 ", "9" * 21, "9" * 5000):
        with pytest.raises(UnitError):
            parse_whole(text)
