from __future__ import annotations

import pytest

from gateway.server.logger import how_it_ended


@pytest.mark.parametrize(
    ("code", "words"), [(0, "status 0"), (78, "status 78"), (-9, "SIGKILL"), (-15, "SIGTERM"), (-40, "signal 40")]
)
def test_an_exit_code_is_told_in_words(code: int, words: str):
    assert how_it_ended(code) == words
