from __future__ import annotations

import pytest

from gateway.upstream.cookies import cookies


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], []),
        ([("Cookie", "a=1; id=2; b=3")], ["2"]),
        ([("cookie", "id=2;id=3")], ["2", "3"]),
        ([("COOKIE", "id=2"), ("Host", "id=9"), ("Cookie", " id = 3 ")], ["2", "3"]),
        ([("Cookie", "xid=1; ID=2; idx=3")], []),
        ([("Cookie", "id=a=b==")], ["a=b=="]),
        ([("Cookie", "id; id=; =id; ;;")], ["", ""]),
        ([("Cookies", "id=1")], []),
    ],
)
def test_cookies_of_a_name(headers: list[tuple[str, str]], found: list[str]) -> None:
    assert list(cookies(headers, "id")) == found
