from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.errors import StoreFull
from gateway.state.engines.node.documents import Documents


@pytest.mark.parametrize("longest", [200, 700, 1900, 9000])
def test_documents_that_come_and_go_never_fill_the_map_itself(tmp_path: Path, longest: int) -> None:
    """The budget ends before the map does, whatever the pages look like, so a delete always finds room."""
    documents = Documents(tmp_path, 1024**2, FakeClock(), "boot")
    rnd, keys = random.Random(longest), []
    for _ in range(3):
        refused = 0
        while refused < 5:
            key = f"r/{rnd.randrange(10**9)}"
            try:
                documents.put(key, rnd.randbytes(rnd.randrange(longest // 2, longest)), None)
                keys.append(key)
            except StoreFull as error:
                assert "fill their" in str(error)
                refused += 1
        rnd.shuffle(keys)
        for key in keys[len(keys) // 4 :]:
            assert documents.delete(key)
        del keys[len(keys) // 4 :]
    for key in keys:
        assert documents.delete(key)
    assert documents.scan("") == []
    documents.close()


def test_expired_documents_are_removed_now_and_then(tmp_path: Path) -> None:
    clock = FakeClock()
    documents = Documents(tmp_path, 1024**2, clock, "boot")
    for number in range(20):
        documents.put(f"r/{number}", b"1", 5)
    clock.advance(60)
    documents.put("r/new", b"1", None)
    with documents._transaction(write=False) as txn:
        assert txn.stat(documents._documents)["entries"] == 1
    documents.close()
