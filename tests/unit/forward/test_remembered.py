from __future__ import annotations

import pytest

from gateway.forward.remembered import Remembered


def test_each_short_text_is_worked_out_once() -> None:
    asked: list[str] = []

    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    remembered = Remembered(length)
    assert [remembered[text] for text in ("a", "bb", "a", "c" * 64, "c" * 64)] == [1, 2, 1, 64, 64]
    assert asked == ["a", "bb", "c" * 64]
    assert (remembered["d" * 65], remembered["d" * 65]) == (65, 65)
    assert asked[3:] == ["d" * 65] * 2


def test_a_flood_of_texts_leaves_room_for_the_common_ones() -> None:
    remembered = Remembered(len)
    for number in range(10_000):
        assert remembered[f"x-{number}"] == len(f"x-{number}")
    assert len(remembered) <= 4096
    assert remembered["host"] == 4
    assert "host" in remembered


def test_what_fails_is_not_remembered() -> None:
    remembered = Remembered(int)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            remembered["x"]
    assert not remembered
